"""Registries: access, answers, retries, documents, tags, and the record of pushed images."""
