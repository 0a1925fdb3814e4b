"""Other people's programs: podman, skopeo, git, and how child processes are run."""
