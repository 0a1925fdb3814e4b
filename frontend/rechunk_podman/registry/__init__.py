"""Registries: access, answers, retries, documents, tags, the state of what was pushed."""
