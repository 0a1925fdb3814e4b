"""`rechunk-podman clean`: remove what killed runs left behind."""

from __future__ import annotations

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.options import Json, Verbose, Workdir


def clean(workdir: Workdir = None, as_json: Json = False, verbose: Verbose = 0) -> None:
    """Remove what killed runs of this user left: directories, mounts, working containers, untagged images.

    Every run does so where it makes temporary files itself; what is in use by a living run stays.
    """
    set_up_logging(verbose)
    from rechunk_podman.programs import leftovers
    from rechunk_podman.programs.namespace import require_root

    where = leftovers.places(None if workdir is None else str(workdir))
    if leftovers.needs_root(where):
        require_root()
    removed = leftovers.clear(where)
    if as_json:
        print_json({"removed": removed})
    else:
        for line in removed or ["nothing is left of killed runs"]:
            write_line(line if not removed else f"removed {line}")
