"""build(): scan, assign, plan, write; one log line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rechunk_podman.build import image_ledger as record
from rechunk_podman.build import labels as identity
from rechunk_podman.components.assign import Assignment, assign
from rechunk_podman.components.preload import Ahead
from rechunk_podman.errors import RootfsError
from rechunk_podman.log import NOTE
from rechunk_podman.model import Component, ComponentId, Plan, Tree
from rechunk_podman.oci.config import ImageConfig, image_config_json, resolve_created
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import Layer
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.documents import ImageDocuments, WrittenImage
from rechunk_podman.oci.write.image import write_image
from rechunk_podman.oci.write.members import LayerSpec
from rechunk_podman.oci.write.output import Output
from rechunk_podman.planning.ledger import Compressor, Ledger
from rechunk_podman.planning.on_base import plan_on_base
from rechunk_podman.planning.plan import plan
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers, gc_paused

log = logging.getLogger("rechunk_podman")

NO_COMPRESSION = Compression()


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and from what.

    rootfs: directory. max_layers: at least 1. config_text: of the source image, see ImageConfig.parse().
    labels, annotations: operations, see ImageConfig.with_labels(). created: epoch seconds, None for that of
    the source image. previous: the Ledger to plan with. base: the Ledger of the image that the source image
    is derived from, whose layers stay as they are. record: whether the image gets a Ledger of its own.
    root_mode: permission bits of `/`, None for 0755. bootc: see identity.bootable_labels(); what /sysroot
    holds is left out. reuse, reuse_from: see write_image().
    """

    rootfs: str
    max_layers: int
    config_text: str | None = None
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    arch: str | None = None
    created: int | None = None
    compression: Compression = NO_COMPRESSION
    prune: tuple[str, ...] = ()
    skip_special_files: bool = False
    tag: str | None = None
    threads: int = 1
    keep_mtime: tuple[str, ...] = ()
    root_mode: int | None = None
    keep_selinux: bool = False
    bootc: bool = False
    previous: Ledger | None = None
    base: Ledger | None = None
    record: bool = True
    reuse: Reuse = field(default_factory=dict)
    reuse_from: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before a byte is written. created, now: epoch seconds."""

    tree: Tree
    assignment: Assignment
    plan: Plan
    config: ImageConfig
    created: int
    now: int
    max_layers: int


def plan_only(request: BuildRequest) -> Prepared:
    """Scan, assign, plan; no image.

    Raises:
        RechunkError: as prepare().
    """
    with Root(request.rootfs) as root, Workers(request.threads) as workers, gc_paused():
        return prepare(root, request, workers)


def prepare(root: Root, request: BuildRequest, workers: Workers) -> Prepared:
    """Scans `root`, finds its components and plans its layers, with the help of the workers.

    Raises:
        RechunkError: the config or the root filesystem cannot be taken as they are.
    """
    source = ImageConfig() if request.config_text is None else ImageConfig.parse(request.config_text)
    # Refuses wrong operations before the long work.
    _configured(source, request)
    ahead = Ahead(root, workers)
    tree = scan(
        root,
        prune=(*request.prune, *_sysroot(root, request)),
        skip_special_files=request.skip_special_files,
        keep_selinux=request.keep_selinux,
        workers=workers,
    )
    log.info("scan: %d paths", len(tree))
    if "sysroot/ostree/repo" in tree:
        log.warning(
            "/sysroot holds an ostree repository, a second copy of what it was deployed as: "
            "--bootc, or --prune /sysroot/, leaves it out"
        )
    assignment = assign(
        root,
        tree,
        keep_mtime=request.keep_mtime,
        root_mode=_root_mode(request),
        workers=workers,
        ahead=ahead,
    )
    bootable = identity.bootable_labels(source.labels, tree, bootc=request.bootc)
    if bootable.operations:
        log.log(NOTE, "labels set (KEY=VALUE) and dropped (KEY-): %s", ", ".join(bootable.operations))
    config = _configured(source.with_labels(bootable.operations), request)
    components = assignment.components
    log.info("assign: %d components, %d bytes", len(components), sum(c.size for c in components))
    built = max((c.mtime_clamp for c in components if c.mtime_clamp is not None), default=0)
    created = resolve_created(config, source_date_epoch=request.created, fallback=built)
    # A clock would make two builds of the same files differ; an image that is older than what is in it
    # (SOURCE_DATE_EPOCH=0) must not hide the changelogs.
    memory = [ledger for ledger in (request.previous, request.base) if ledger is not None]
    now = max(created, built, *(date for ledger in memory for date in ledger.dates[-1:]))
    if request.base is None:
        made = plan(components, request.previous, max_layers=request.max_layers, now=now)
    else:
        made = plan_on_base(
            components, request.previous, request.base, max_layers=request.max_layers, now=now
        )
    log.info("plan: %d layers, %s", len(made.layers), "from memory" if memory else "without memory")
    for note in made.notes:
        log.info("plan: %s", note)
    return Prepared(tree, assignment, made, config, created, now, request.max_layers)


def build(
    request: BuildRequest,
    output: Output,
    *,
    on_plan: Callable[[Prepared, int], None] | None = None,
    on_layer: Callable[[int, Layer], None] | None = None,
    on_layers: Callable[[Sequence[Layer]], None] | None = None,
) -> WrittenImage:
    """The whole way, from a root filesystem to an image at `output`; it appears whole or not at all.

    Args:
        on_plan: called before anything is written, with the bytes (uncompressed) of the layers that will be
            as its second argument.
        on_layers: called when all layers are there, and before the image appears.

    Raises:
        RechunkError: as prepare() and write_image(), and what on_plan and on_layers raise.
    """
    with Root(request.rootfs) as root, Workers(request.threads) as workers, gc_paused():
        prepared = prepare(root, request, workers)
        by_id = {component.id: component for component in prepared.assignment.components}
        expected = record.expected_layers(
            prepared.plan, by_id, [request.previous, request.base], request.reuse
        )
        specs = [
            LayerSpec(
                tuple(by_id[ident] for ident in layer.components),
                record.layer_annotations(layer, by_id),
                expected[index],
            )
            for index, layer in enumerate(prepared.plan.layers)
        ]
        if on_plan is not None:
            new = (spec for spec in specs if spec.expected is None)
            on_plan(prepared, sum(component.size for spec in new for component in spec.components))

        def finish(layers: Sequence[Layer]) -> ImageDocuments:
            if on_layers is not None:
                on_layers(layers)
            return _documents(request, prepared, by_id, layers)

        image = write_image(
            root,
            prepared.tree,
            specs,
            prepared.assignment.mtimes,
            finish=finish,
            output=output,
            compression=request.compression,
            workers=workers,
            tag=request.tag,
            root_mode=_root_mode(request),
            reuse=request.reuse,
            reuse_from=request.reuse_from,
            on_layer=on_layer,
        )
    log.info("write: %s, manifest %s", output, image.manifest_descriptor.digest)
    return image


def _root_mode(request: BuildRequest) -> int:
    return 0o755 if request.root_mode is None else request.root_mode


def _configured(config: ImageConfig, request: BuildRequest) -> ImageConfig:
    return (
        config.with_labels(request.labels)
        .with_annotations(request.annotations)
        .with_architecture(request.arch)
    )


def _sysroot(root: Root, request: BuildRequest) -> tuple[str, ...]:
    """What a bootable image has no use for: the ostree repository that its base was deployed from."""
    if not request.bootc:
        return ()
    try:
        root.stat("sysroot")
    except RootfsError:
        return ()
    log.log(NOTE, "bootc: what /sysroot holds is left out")
    return ("/sysroot/",)


def _documents(
    request: BuildRequest,
    prepared: Prepared,
    by_id: Mapping[ComponentId, Component],
    layers: Sequence[Layer],
) -> ImageDocuments:
    """The config (history, Ledger and all) and the manifest's annotations of the layers just written."""
    history = record.layer_history(prepared.plan, by_id, layers)
    config = record.without_ledger(prepared.config)
    if request.record:
        previous = request.base if request.previous is None else request.previous
        ledger = Ledger.advance(
            previous,
            prepared.assignment.components,
            prepared.plan,
            [layer.diff_id for layer in layers],
            date=prepared.now,
            compressor=_compressor(request, previous, layers),
        )
        config, history = record.with_ledger(config, history, ledger)
    return ImageDocuments(image_config_json(config, layers, history, prepared.created), config.annotations)


def _compressor(request: BuildRequest, previous: Ledger | None, layers: Sequence[Layer]) -> Compressor | None:
    """What made the blobs: where all are the previous image's, what made those (the digest stays)."""
    if previous is not None and all(layer.diff_id in request.reuse for layer in layers):
        return previous.compressor
    program = request.compression.program
    return None if program is None else Compressor(*program)
