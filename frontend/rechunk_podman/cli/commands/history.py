"""`rechunk-podman history docker://REPO -o FILE.json.xz`: measure past releases for `simulate`."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman.cli.console import set_up_logging
from rechunk_podman.cli.options import Access, Arch, Verbose, command


@command
def history(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="docker://REPO | IMG…",
            help="A repository without a tag, whose tags are the releases; or the images themselves.",
        ),
    ],
    access: Access,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.json[.xz]", help="Write the history to FILE.")
    ],
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="RE",
            help=r"Regular expression for the tags, such as ^41\.[0-9]{8}$; by default, those with a date.",
        ),
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=2, help="Read the newest N releases.")] = 20,
    arch: Arch = None,
    verbose: Verbose = 0,
) -> None:
    """Measure past releases of an image: which components each held, their sizes, and its own layers.

    Layers are read one after the other as streams. Each layer is read once; a run that was interrupted goes
    on where it ended, because what was read is kept below XDG_CACHE_HOME. `rechunk-podman simulate FILE` then
    says what updates would have cost.
    """
    set_up_logging(verbose)
    import json

    from rechunk_podman.cli.progress import progress_bar
    from rechunk_podman.files import require_writable, write_file
    from rechunk_podman.history.run import measure

    require_writable(output, "--output")
    registry = access.registry(*images, platform=arch)
    with progress_bar() as progress:
        document = measure(images, pattern=pattern, last=last, registry=registry, progress=progress)
    data = json.dumps(document, separators=(",", ":")).encode()
    write_file(output, lzma.compress(data) if output.suffix == ".xz" else data)
