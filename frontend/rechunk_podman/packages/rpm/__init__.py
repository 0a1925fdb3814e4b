"""The rpm database: its three formats and the package headers in it."""
