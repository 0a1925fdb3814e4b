"""`rechunk-podman split`: write the files of an image in content-based layers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman.cli.attached import attach_to_pushed
from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.image_options import IdentityOptions, ImageOptions
from rechunk_podman.cli.layers import print_layers, print_plan, push_document, storage_document
from rechunk_podman.cli.options import (
    Access,
    Attach,
    Digestfile,
    Json,
    MaxUpdate,
    Push,
    Rootfs,
    SignHint,
    Verbose,
    Workdir,
    command,
    for_work,
)
from rechunk_podman.cli.progress import progress_bar
from rechunk_podman.cli.pushed import finish_push, require_writable_files
from rechunk_podman.errors import UsageError
from rechunk_podman.files import refuse_device, require_distinct
from rechunk_podman.oci.write.output import named_output
from rechunk_podman.registry.state import refuse_stream


@command
def split(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="IMG",
            help="Name, digest reference or id of a local image; of a list, with --push. Or docker://NAME, "
            "oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE.",
            autocompletion=image_names,
        ),
    ] = None,
    image: ImageOptions,
    identity: IdentityOptions,
    access: Access,
    push: Push = None,
    max_update: MaxUpdate = None,
    digestfile: Digestfile = None,
    sign_by_digest_hint: SignHint = False,
    attach: Attach = False,
    rootfs: Rootfs = None,
    engine: Annotated[
        str,
        for_work(
            metavar="auto|buildah|native",
            help="buildah: in the chunker image; native: in place; auto: buildah if that image is at hand.",
        ),
    ] = "auto",
    chunker: Annotated[
        str | None, for_work(metavar="IMAGE", help="The chunker image (engine buildah).")
    ] = None,
    workdir: Workdir = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Split an image into content-based layers: into local storage, a registry or a file."""
    set_up_logging(verbose)
    from rechunk_podman.build.options import parse_limit
    from rechunk_podman.oci.reference import Target, normalised_tag
    from rechunk_podman.split.request import Engine, SplitRequest
    from rechunk_podman.split.run import split as run

    if (name is None) == (rootfs is None):
        raise UsageError(
            "split needs an image" if name is None else "split takes an image or --rootfs, not both",
            hint="rechunk-podman split IMG; or --rootfs DIR --config FILE",
        )
    targets = tuple(Target.parse(text) for text in push or ())
    if not targets and (digestfile is not None or sign_by_digest_hint):
        raise UsageError("only what is pushed has a digest", hint="--push docker://REPO:TAG")
    if not targets and max_update is not None:
        raise UsageError(
            "--max-update is for a push", hint="`rechunk-podman diff --max-update` compares images"
        )
    if not targets and attach:
        raise UsageError(
            "--attach is for a push", hint="`rechunk-podman diff OLD docker://NEW --attach` attaches later"
        )
    if engine not in list(Engine):
        raise UsageError(f"no such engine: {engine}", hint="one of: " + ", ".join(Engine))
    require_writable_files(digestfile=digestfile, state=image.state if targets else None)
    if image.state is not None:
        refuse_stream(image.state)
    options = image.build_options(pushed=bool(targets))
    output, tag = None, image.tag and normalised_tag(image.tag)
    if image.output is not None:
        place, tag = named_output(image.output, tag)
        if place.path is None:
            raise UsageError("split writes no image to standard output", hint="--output oci-archive:FILE")
        refuse_device(place.path, "--output")
        require_distinct({"--output": place.path, "--state": image.state})
        output = str(place.absolute())
    request = SplitRequest(
        name or "",
        replace(options, tag=tag),
        identity.identity(),
        config=image.config_text(),
        output=output,
        push=targets,
        engine=Engine(engine),
        chunker=chunker,
        previous=image.previous,
        reuse=image.reuse,
        verify=image.verify_previous,
        state=image.state,
        registry=access.registry(),
        workdir=None if workdir is None else str(workdir.absolute()),
        plan_only=image.plan_only,
        rootfs=None if rootfs is None else str(Path(rootfs).absolute()),
        max_update=parse_limit("--max-update", max_update),
        attach=attach,
    )
    with progress_bar() as progress:
        result = run(request, progress)
    if result.plan is not None:
        print_json(result.plan) if as_json else print_plan(result.plan)
    elif result.digest is not None:
        if not as_json:
            write_line(result.digest)
        finish_push(targets, result.digest, digestfile, sign_hint=sign_by_digest_hint, images=result.images)
        attached = None
        if attach:
            sys.stdout.flush()
            attached = attach_to_pushed(
                [(one.record, one.before) for one in result.images],
                [target.repository for target in targets],
                access.registry(*map(str, targets)),
            )
        if as_json:
            print_json(push_document(result, targets, attached))
    else:
        document = storage_document(result)
        print_json(document) if as_json else print_layers(document)
