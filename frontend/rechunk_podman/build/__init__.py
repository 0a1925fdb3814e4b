"""Build an image from a root filesystem: the pipeline, and the record that the image carries."""
