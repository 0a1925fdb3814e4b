"""Registries: access, documents, tags, errors that pass, what was pushed."""
