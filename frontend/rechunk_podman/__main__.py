"""`python -m rechunk_podman`: the command line."""

from rechunk_podman.cli.app import main

main()
