"""External programs: podman, buildah, skopeo, git; child processes, namespaces, room on disk."""
