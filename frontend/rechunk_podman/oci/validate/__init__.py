"""Validation of images against their own digests, documents and the specification."""
