"""rechunk-podman: a finished image in, the same files in content-based, reproducible layers out."""

__version__ = "0.1.0"
