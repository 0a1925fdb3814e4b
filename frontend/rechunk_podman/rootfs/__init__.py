"""Confined reading of a root filesystem, and the scan of it into a Tree."""
