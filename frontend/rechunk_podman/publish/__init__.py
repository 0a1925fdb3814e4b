"""Publishing to registries: push, more tags, an index of several platforms."""
