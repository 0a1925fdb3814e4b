"""Write pages of explain/report to the file that `--html` names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rechunk_podman.explain.report.page import Page

Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page to FILE, which needs no network.")
]


def check_page(path: Path | None) -> None:
    """Raise UsageError if no page can be written at `path`."""
    from rechunk_podman.files import require_writable

    if path is not None:
        require_writable(path, "--html")


def write_page(page: Page, path: Path) -> None:
    """Write a page.

    Raises:
        RechunkError: the file cannot be written.
    """
    from rechunk_podman.explain.report.page import render
    from rechunk_podman.files import write_file
    from rechunk_podman.split.containerfile import templates

    write_file(path, render(page, templates()).encode())
