"""`rechunk-podman split`: an image in podman's storage in, the same files in content-based layers out."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.identify import (
    BootcOption,
    DescriptionOption,
    Identity,
    KeepLabelOption,
    LabelsOption,
    PrettyOption,
    RevisionOption,
    VersionOption,
)
from rechunk_podman.cli.inputs import COMPRESSIONS
from rechunk_podman.cli.layers import layers_document, print_layers
from rechunk_podman.cli.prepare import for_platform, request_of, with_engine
from rechunk_podman.cli.profiles import chosen_layers, parse_max_layers
from rechunk_podman.cli.progress import progress_bar
from rechunk_podman.cli.references import (
    AuthfileOption,
    CertDirOption,
    CredsOption,
    FreshOption,
    NoLedgerOption,
    PreviousOption,
    ReuseOption,
    StateOption,
    TlsVerifyOption,
    VerifyPreviousOption,
    registry_of,
)
from rechunk_podman.cli.ship import (
    DigestfileOption,
    OutputOption,
    PushOption,
    Shipping,
    SignHintOption,
    absolute_output,
    destination,
    previous_of,
    publish,
    require_places,
    show_push,
)
from rechunk_podman.cli.shiplist import jobs_of, publish_list, require_push
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.programs.podman import Podman
    from rechunk_podman.split.request import Request

log = logging.getLogger(__name__)


class Engine(str, Enum):
    """How the chunker runs."""

    AUTO = "auto"
    BUILDAH = "buildah"
    NATIVE = "native"


def split(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMG", help="Name, digest reference or id of a local image; of a list, with --push."
        ),
    ],
    tag: Annotated[
        str | None,
        typer.Option("--tag", "-t", metavar="NAME", help="Name of the result; IMG with -chunked by default."),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="buildah: in the chunker image; native: in place; auto: buildah if that image is at hand."
        ),
    ] = Engine.AUTO,
    chunker: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The chunker image (engine buildah).")
    ] = None,
    max_layers: Annotated[
        str | None,
        typer.Option(
            metavar="N|PROFILE",
            help="A number, or docker, podman, bootc (120), podman-new (400); 64 by default.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another image config than that of IMG.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE|KEY-|-", help="Set a label, drop one, or drop all so far; in order."),
    ] = None,
    labels: LabelsOption = None,
    keep_label: KeepLabelOption = None,
    version: VersionOption = None,
    revision: RevisionOption = None,
    description: DescriptionOption = None,
    pretty: PrettyOption = None,
    bootc: BootcOption = False,
    annotation: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE|KEY-|-", help="The same for manifest annotations.")
    ] = None,
    source_date_epoch: Annotated[
        int | None,
        typer.Option(
            envvar="SOURCE_DATE_EPOCH",
            min=0,
            help="Creation time of the result, epoch seconds; else that of IMG.",
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(
            metavar="none|gzip|zstd", help="With --push zstd by default, gzip with --max-layers docker."
        ),
    ] = None,
    compression_level: Annotated[
        int | None, typer.Option(metavar="N", help="gzip 0..9 (6), zstd 1..22 (3).")
    ] = None,
    prune: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Leave PATH out; PATH/ leaves out what it holds.")
    ] = None,
    skip_special_files: Annotated[
        bool, typer.Option("--skip-special-files", help="Leave out sockets, FIFOs and devices.")
    ] = False,
    keep_mtime: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Leave the times of PATH (and what is below it) as they are."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", "-T", min=0, help="0: all cores.")] = 0,
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For temporary files, else TMPDIR or /var/tmp.")
    ] = None,
    push: PushOption = None,
    output: OutputOption = None,
    digestfile: DigestfileOption = None,
    sign_by_digest_hint: SignHintOption = False,
    previous: PreviousOption = None,
    fresh: FreshOption = False,
    no_ledger: NoLedgerOption = False,
    reuse: ReuseOption = True,
    verify_previous: VerifyPreviousOption = None,
    state: StateOption = None,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    cert_dir: CertDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")
    ] = 0,
) -> None:
    """Split an image in local storage into content-based layers: into storage, a registry or a file."""
    set_up_logging(verbose)
    profile = chosen_layers(max_layers, bootc=bootc)
    parse_max_layers(profile)
    if compression is not None and compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", hint="one of: " + ", ".join(COMPRESSIONS))
    if engine is Engine.NATIVE and chunker is not None:
        raise UsageError(
            "--engine native runs no chunker image", hint="leave out --chunker, or --engine buildah"
        )
    targets = destination(push, output, tag)
    if engine is Engine.BUILDAH and (targets or output is not None):
        raise UsageError(
            "--push and --output work in place: --engine buildah cannot do them", hint="--engine native"
        )
    if not targets and (digestfile is not None or sign_by_digest_hint):
        raise UsageError("only what is pushed has a digest", hint="--push docker://REPO:TAG")
    require_places(digestfile=digestfile, state=state if targets else None)
    if targets and compression is None:
        compression = "gzip" if profile == "docker" else "zstd"
    flags = ["--max-layers", profile, "--threads", str(threads)]
    for option, values in (
        ("--label", label),
        ("--annotation", annotation),
        ("--prune", prune),
        ("--keep-mtime", keep_mtime),
    ):
        flags += [f"{option}={value}" for value in values or ()]
    if source_date_epoch is not None:
        flags.append(f"--source-date-epoch={source_date_epoch}")
    if compression is not None:
        flags.append(f"--compression={compression}")
    if compression_level is not None:
        flags.append(f"--compression-level={compression_level}")
    if skip_special_files:
        flags.append("--skip-special-files")
    flags += ["--bootc"] * bootc
    flags += ["--fresh"] * fresh + ["--no-ledger"] * no_ledger + ["-v"] * verbose
    registry = registry_of(tls_verify, authfile, creds, None, cert_dir)
    shipping = Shipping(
        registry=registry.only_for(targets[0].repository) if targets else registry,
        push=targets,
        output=None if output is None else absolute_output(output, tag),
        digestfile=digestfile,
        sign_hint=sign_by_digest_hint,
        previous=previous,
        fresh=fresh,
        reuse=reuse,
        verify=verify_previous,
        state=state,
    )
    place = None if workdir is None else str(workdir.absolute())
    identity = Identity(version, revision, description, pretty, labels, tuple(keep_label or ()))
    if fresh and previous is not None:
        identity = identity.counting_on(previous, shipping.registry)
    _run(image, tag, engine, chunker, config, tuple(flags), place, shipping, identity, as_json=as_json)


def _run(
    name: str,
    tag: str | None,
    engine: Engine,
    chunker: str | None,
    config: Path | None,
    flags: tuple[str, ...],
    workdir: str | None,
    shipping: Shipping,
    identity: Identity,
    *,
    as_json: bool,
) -> None:
    from rechunk_podman.files import spool_directory
    from rechunk_podman.log import NOTE
    from rechunk_podman.oci.read.image import open_image
    from rechunk_podman.oci.reference import default_tag, normalised_tag
    from rechunk_podman.oci.write.output import Output, OutputKind
    from rechunk_podman.programs import namespace, podman, space
    from rechunk_podman.split import in_buildah as buildah
    from rechunk_podman.split import in_place as native
    from rechunk_podman.split.containerfile import DEFAULT_CHUNKER

    target = None if tag is None else normalised_tag(tag)
    if shipping.push or shipping.output is not None:
        engine = Engine.NATIVE
    if engine is Engine.NATIVE:
        namespace.require_mounting()
    with podman.connect() as service:
        members = service.instances(name)
        if members is not None:
            require_push(name, len(members), shipping, config)
            if os.geteuid() != 0:
                namespace.reexecute_in_namespace(with_engine(sys.argv[1:], Engine.NATIVE.value))
            jobs = jobs_of(members, service, flags, workdir, shipping, identity)
            publish_list(name, shipping, jobs, as_json=as_json)
            return
        image = service.resolve(name)
        target = str(shipping.push[0]) if shipping.push else target
        target = target or default_tag(name, image.id, image.names)
        if engine is Engine.AUTO and chunker is None and buildah.has_triggers(image.config):
            engine = Engine.NATIVE
        chosen, pull = _choose(service, engine, chunker or DEFAULT_CHUNKER, asked=chunker is not None)
        if chosen is Engine.NATIVE and os.geteuid() != 0:
            before, held = None, None
        else:
            shipping = replace(shipping, registry=for_platform(shipping.registry, image))
            before, held = previous_of(shipping, service, target)
    if chosen is Engine.NATIVE and os.geteuid() != 0:
        namespace.reexecute_in_namespace(with_engine(sys.argv[1:], Engine.NATIVE.value))
    if chosen is Engine.NATIVE:
        namespace.require_mounting()
    if namespace.is_in_namespace() or os.geteuid() != 0:
        log.warning(
            "storage of an ordinary user holds no device nodes: where the image has some, the result has none"
        )
    if shipping.output is not None:
        named = Output.parse(shipping.output)
        if tag is not None or (named.kind is OutputKind.DOCKER_ARCHIVE and named.tag is None):
            flags = (*flags, f"--tag={target}")
    request = request_of(image, target, before, held, config, flags, workdir, identity)
    started = time.monotonic()
    if shipping.push:
        with progress_bar() as progress:
            published = publish(shipping, request, before, progress)
        log.info("split and pushed in %.1f s", time.monotonic() - started)
        show_push(shipping, published, image.id, as_json=as_json)
        return
    place = workdir or spool_directory()
    if image.driver == "vfs" and shipping.output is None:
        log.warning(
            "vfs storage keeps a whole copy of the image for each layer: fewer (--max-layers) need less room"
        )
    what = "splitting into a temporary layout"
    if shipping.output is not None:
        what, place = "writing the image", Output.parse(shipping.output).path or place
    space.require(what, place, at_most=image.size, level=NOTE)
    if chosen is Engine.BUILDAH:
        asked = engine is Engine.BUILDAH or chunker is not None
        chosen = _in_chunker(request, chunker or DEFAULT_CHUNKER, pull=pull, asked=asked)
    if chosen is Engine.NATIVE:
        with progress_bar() as progress:
            if shipping.output is not None:
                manifest = native.write_to(request, shipping.output, progress)
            else:
                native.split(request, progress)
    log.info("split in %.1f s", time.monotonic() - started)
    if shipping.output is not None:
        with open_image(shipping.output) as written:
            config_bytes = written.record.config_bytes
        document = layers_document(shipping.output, image.id, chosen.value, config_bytes, manifest)
    else:
        with podman.connect() as service:
            result = service.resolve(target)
        document = layers_document(target, image.id, chosen.value, result.config, result.manifest)
        document["id"] = result.id
    if as_json:
        print_json(document)
    else:
        print_layers(document)


def _in_chunker(request: Request, chunker: str, *, pull: bool, asked: bool) -> Engine:
    """Splits by the engine buildah; gives the one that is to do it where that cannot and nobody asked.

    Raises:
        RechunkError: as buildah.split().
    """
    from rechunk_podman.programs import namespace
    from rechunk_podman.split import in_buildah as buildah

    try:
        with progress_bar() as progress:
            buildah.split(request, progress, chunker=chunker, pull=pull)
    except buildah.NoContainersError as error:
        if asked:
            raise
        log.warning("%s: splitting in place instead", error.message)
        if os.geteuid() != 0:
            namespace.reexecute_in_namespace(with_engine(sys.argv[1:], Engine.NATIVE.value))
        namespace.require_mounting()
        return Engine.NATIVE
    return Engine.BUILDAH


def _choose(service: Podman, engine: Engine, chunker: str, *, asked: bool) -> tuple[Engine, bool]:
    """The engine, and whether the chunker image has to be pulled.

    Raises:
        UsageError: the engine is buildah, and no chunker image is at hand.
    """
    from rechunk_podman.programs.process import which

    if engine is Engine.NATIVE:
        return engine, False
    at_hand = service.exists(chunker)
    if engine is Engine.AUTO and not asked:
        usable = at_hand and which("buildah") is not None
        return (Engine.BUILDAH if usable else Engine.NATIVE), False
    if not at_hand and chunker.startswith("localhost/"):
        raise UsageError(
            f"there is no chunker image {chunker}",
            hint=f"buildah build -t {chunker} -f frontend/Containerfile .   (or --engine native)",
        )
    return Engine.BUILDAH, not at_hand
