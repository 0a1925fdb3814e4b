"""From a root filesystem to an image: the pipeline, and what an image records of itself."""
