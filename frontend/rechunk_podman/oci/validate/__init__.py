"""Checking an image against all that it says of itself."""
