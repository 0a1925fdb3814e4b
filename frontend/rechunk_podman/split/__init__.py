"""The use case split: an image in storage, chunked in place or in buildah."""
