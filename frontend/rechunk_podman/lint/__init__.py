"""Named checks on an image, one module a family of checks."""
