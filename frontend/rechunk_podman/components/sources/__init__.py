"""The sources of components, one module each."""
