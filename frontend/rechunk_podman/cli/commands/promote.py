"""`rechunk-podman promote`: add tags to a tested image, by its digest."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.options import Access, Json, Verbose, command


@command
def promote(
    image: Annotated[
        str, typer.Argument(metavar="docker://REPO@DIGEST", help="The image, by its digest and no other way.")
    ],
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="New tags in the same repository.")],
    access: Access,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Give an image in a registry more tags; it keeps its digest, and nothing else is uploaded."""
    set_up_logging(verbose)
    from rechunk_podman.publish import push

    source, targets = push.promote(image, tags, access.registry())
    if as_json:
        print_json({"digest": source.digest, "pushed": [str(target) for target in targets]})
    else:
        for target in targets:
            write_line(f"{target} {source.digest}")
