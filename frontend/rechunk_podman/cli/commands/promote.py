"""`rechunk-podman promote`: add tags to a tested image, by its digest."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from rechunk_podman.cli.attached import attach_to_pushed, updates_of
from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.options import Access, Attach, Json, Verbose, command


@command
def promote(
    image: Annotated[
        str, typer.Argument(metavar="docker://REPO@DIGEST", help="The image, by its digest and no other way.")
    ],
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="New tags in the same repository.")],
    access: Access,
    attach: Attach = False,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Give an image in a registry more tags; it keeps its digest, and no layer is uploaded.

    --attach describes the update from the image that the first TAG named before.
    """
    set_up_logging(verbose)
    from rechunk_podman.publish import push

    registry = access.registry(image)
    images = updates_of(image, tags[0], registry) if attach else []
    source, targets = push.promote(image, tags, registry)
    document: dict[str, Any] = {"digest": source.digest, "pushed": [str(target) for target in targets]}
    if not as_json:
        for target in targets:
            write_line(f"{target} {source.digest}")
    if attach:
        sys.stdout.flush()
        document["attached"] = [
            str(report) for report in attach_to_pushed(images, [source.repository], registry)
        ]
    if as_json:
        print_json(document)
