"""Copy-in files for repositories of derived images."""
