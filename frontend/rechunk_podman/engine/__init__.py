"""Driving podman, buildah and skopeo."""
