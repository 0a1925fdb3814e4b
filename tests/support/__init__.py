"""Helpers of tests with real tools: storages, users, registries, commands."""
