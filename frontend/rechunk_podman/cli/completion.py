"""Names of images in local storage, for the shell's completion."""

from __future__ import annotations


def image_names(incomplete: str) -> list[str]:
    """Return the names in podman's storage that begin with the text; none if podman does not answer.

    As in podman, the text may leave out the `localhost/` of a name.
    """
    from rechunk_podman.errors import RechunkError
    from rechunk_podman.programs.process import run

    try:
        listed = run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}"]).text
    except RechunkError:
        return []
    names = sorted({name for name in listed.split() if "<none>" not in name})
    local = "localhost/"
    short = [name.removeprefix(local) for name in names if name.startswith(local)]
    return [name for name in (*names, *short) if name.startswith(incomplete)]
