"""Files that are copied into repositories of derived images."""
