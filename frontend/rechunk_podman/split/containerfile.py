"""Render templates/Containerfile.splitter.j2: pure text."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

from rechunk_podman.errors import UsageError

TEMPLATE = "Containerfile.splitter.j2"
DEFAULT_CHUNKER = "localhost/rechunk-podman:latest"

ARCHIVE_FILE = "out.ociarchive"

_PACKAGE = Path(__file__).resolve().parent.parent


def render(
    *,
    chunker: str = DEFAULT_CHUNKER,
    image: str | None = None,
    job: str | None = None,
    after: bool = False,
) -> str:
    """Return the text of a Containerfile.splitter.

    Args:
        chunker: the default of its build argument CHUNKER.
        image: full id of the image to split, which is mounted unchanged; None: the user names it by --from.
            buildah 1.43 adds directories for the volumes of an image that is the base of a stage.
        job: path of the job file, the value of --job; only with `image`.
        after: the last stage names the stage that it depends on, so --skip-unused-stages=false is not
            needed. It requires buildah 1.44.

    Raises:
        UsageError: the chunker's name or the image's id is malformed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", chunker):
        raise UsageError(
            f"not an image name: {chunker!r}", hint="--chunker takes a name, such as " + DEFAULT_CHUNKER
        )
    if image is not None and not re.fullmatch(r"[0-9a-f]{64}", image):
        raise UsageError(f"not the id of an image: {image!r}", hint="64 hex digits")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (a Containerfile is not HTML)
    )
    return environment.get_template(TEMPLATE).render(chunker=chunker, image=image, job=job, after=after)


def templates() -> Path:
    """Return the folder of templates: in the installed package, or at the top of a checkout."""
    packaged = _PACKAGE / "templates"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / "templates"
