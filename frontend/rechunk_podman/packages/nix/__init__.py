"""The store of Nix: reader and versions."""
