"""`rechunk-podman previous docker://REPO --pattern RE`."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.options import Access, Arch, Json, Verbose, command
from rechunk_podman.errors import RechunkError, UsageError


@command
def previous(
    repository: Annotated[
        str, typer.Argument(metavar="docker://REPO", help="A repository: registry and path, no tag.")
    ],
    access: Access,
    pattern: Annotated[
        str,
        typer.Option(
            metavar="RE", help=r"Regular expression for the tags of the series, such as ^40-[0-9]{8}$."
        ),
    ] = ".",
    before: Annotated[str | None, typer.Option(metavar="TAG", help="Only tags older than this one.")] = None,
    fail: Annotated[bool, typer.Option("--fail", help="None found is an error (exit code 1).")] = False,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Print docker://REPO:TAG, or with --digest docker://REPO@sha256:…."),
    ] = False,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print REPO@sha256:…, which later pushes do not move.")
    ] = False,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Print the newest tag of a series in a registry: the previous image.

    The newest is told by the date in the tag (and a counter behind it), else by when the image was created.
    Signatures, attestations and SBOMs (sha256-….sig) are never taken; a tag that names no image is left out
    with a warning. Where none is there yet, nothing
    is printed and the exit code is 0, so that a first build needs no special case.
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.documents import date_text
    from rechunk_podman.oci.documents import sha256_of
    from rechunk_podman.oci.reference import DOCKER
    from rechunk_podman.registry.documents import top_document
    from rechunk_podman.registry.tags import previous_tag

    if "://" in repository and not repository.startswith(DOCKER):
        raise UsageError(f"not a repository in a registry: {repository}", hint="docker://REGISTRY/PATH")
    name = repository.removeprefix(DOCKER)
    registry = access.registry(f"{DOCKER}{name}", platform=arch)
    found = previous_tag(name, pattern, before=before, registry=registry)
    if found is None and fail:
        raise RechunkError(
            f"no tag of {DOCKER}{name} matches {pattern}"
            + (f" and is older than {before}" if before else ""),
            hint=f"skopeo list-tags {DOCKER}{name} shows what is there",
        )
    shown, identity = "", {}
    if found is not None:
        shown = f"{name}:{found.tag}" if reference else found.tag
        if digest:
            pinned = sha256_of(top_document(f"{DOCKER}{name}:{found.tag}", registry))
            shown, identity = f"{name}@{pinned}", {"digest": pinned}
    if as_json:
        none = dict.fromkeys(("tag", "reference", "date", "date_from"))
        print_json(
            none
            if found is None
            else {
                "tag": found.tag,
                "reference": f"{DOCKER}{name}:{found.tag}",
                "date": date_text(found.when),
                "date_from": "tag" if found.named else "created",
                **identity,
            }
        )
    elif found is not None:
        write_line(f"{DOCKER}{shown}" if reference else shown)
