"""Named checks on an image; each family of checks is a module."""
