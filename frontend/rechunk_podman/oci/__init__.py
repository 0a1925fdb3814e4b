"""Writing, reading and validating OCI images."""
