"""`rechunk-podman index`: one name for the images of several platforms."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.options import Access, Digestfile, Json, Push, SignHint, Verbose, Workdir, command
from rechunk_podman.cli.progress import progress_bar
from rechunk_podman.cli.pushed import finish_push, require_writable_files
from rechunk_podman.errors import UsageError


@command
def index(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...", help="Images and indexes of them: docker://REPO@DIGEST (or :TAG), oci:DIR."
        ),
    ],
    access: Access,
    push: Push = None,
    digestfile: Digestfile = None,
    sign_by_digest_hint: SignHint = False,
    workdir: Workdir = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Push an index over images of several platforms, each as it is, with its own record."""
    set_up_logging(verbose)
    from rechunk_podman.oci.reference import Target
    from rechunk_podman.publish import index as multiarch

    if not push:
        raise UsageError("no name is given for the index", hint="--push docker://REPO:TAG")
    targets = [Target.parse(text) for text in push]
    require_writable_files(digestfile=digestfile)
    registry = access.registry().only_for(targets[0].repository)
    instances = [one for reference in images for one in multiarch.instances(reference, registry)]
    with progress_bar() as progress:
        digest = multiarch.publish_index(
            instances,
            targets,
            registry,
            workdir=None if workdir is None else str(workdir.absolute()),
            tick=lambda: progress("uploading", 0, 0),
        )
    if as_json:
        found = [{"platform": one.platform_name, "digest": one.digest} for one in instances]
        print_json({"digest": digest, "pushed": [str(target) for target in targets], "images": found})
    else:
        write_line(digest)
    finish_push(targets, digest, digestfile, sign_hint=sign_by_digest_hint)
