"""What the tests with real tools stand on: storages, users, registries, commands."""
