"""The use case split: chunk an image of local storage in place or in buildah."""
