"""The pipeline of a build: scan, assign, plan, write; one log line each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rechunk_podman.build import image_ledger as record
from rechunk_podman.build import labels as identity
from rechunk_podman.build.clean import without_leftovers
from rechunk_podman.build.limit import within_limit, written_mtimes
from rechunk_podman.build.options import DEFAULT_MAX_LAYERS, BuildOptions
from rechunk_podman.build.sealed import refuse_sealed
from rechunk_podman.components import group_file
from rechunk_podman.components.assign import Assignment, assign
from rechunk_podman.components.board import Rules
from rechunk_podman.components.preload import Databases
from rechunk_podman.errors import RootfsError
from rechunk_podman.log import NOTE, begin_phase
from rechunk_podman.model import Component, ComponentId, Kind, Plan, Tree
from rechunk_podman.oci.config import ImageConfig, image_config_json, resolve_created
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import DiffId, Layer
from rechunk_podman.oci.write.documents import ImageDocuments, WrittenImage
from rechunk_podman.oci.write.image import LayerSpec, write_image
from rechunk_podman.oci.write.output import Format, Output
from rechunk_podman.oci.write.stream import TarSource
from rechunk_podman.planning.folding import has_room
from rechunk_podman.planning.layout import Kept, Layout, lay_out
from rechunk_podman.planning.ledger import Compressor, Ledger, diff_id_prefix
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import described_scan, scan
from rechunk_podman.rootfs.selinux import label_by_policy, without_root_label
from rechunk_podman.units import human_size
from rechunk_podman.workers import Workers, gc_paused

# What only some builds need is imported there: the others start sooner.
if TYPE_CHECKING:
    from rechunk_podman.build.adopt import Foreign, KeptLayer
    from rechunk_podman.oci.read.image import ImageSource

log = logging.getLogger("rechunk_podman")


@dataclass(frozen=True, slots=True)
class Source:
    """The inputs of a build.

    rootfs: a directory; that of `layers`, it has to be empty.
    config: text of the image config, see ImageConfig.parse(); None for an empty one.
    previous: the Ledger to plan with.
    base: the Ledger of the image that the source image is derived from, whose layers are kept.
    layers: the image whose files are split; None for those of the directory.
    foreign: layers of the previous image that another tool made, and that may stay; only without `base`.
    """

    rootfs: str
    config: str | None = None
    previous: Ledger | None = None
    base: Ledger | None = None
    layers: ImageSource | None = None
    foreign: Foreign | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The plan and its inputs, before a byte is written. created, now: epoch seconds.

    kept: layers of the previous image that stay as another tool made them: the lowest ones of the plan.
    """

    tree: Tree
    assignment: Assignment
    layout: Layout
    config: ImageConfig
    created: int
    now: int
    max_layers: int
    kept: tuple[KeptLayer, ...] = ()

    @property
    def plan(self) -> Plan:
        """The layers."""
        return self.layout.plan

    @property
    def units(self) -> dict[ComponentId, Component]:
        """The components, or units of parts of one, that the plan lays."""
        return {unit.id: unit for unit in self.layout.units}


def plan_only(source: Source, options: BuildOptions, reuse: Container[DiffId] = ()) -> Prepared:
    """Scan, assign and plan, but write no image.

    Args:
        reuse: see prepare().

    Raises:
        RechunkError: as prepare().
    """
    with opened(source) as files, _workers(options) as workers, gc_paused():
        return prepare(files, source, options, workers, reuse)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a Source. unpacked: the Tree of the image that they are from; None for a directory."""

    root: Root
    unpacked: Tree | None = None


@contextmanager
def opened(source: Source) -> Iterator[Files]:
    """Open the root filesystem of a source; unpack the layers first if it is an image.

    Raises:
        RechunkError: as Root() and unpack().
    """
    unpacked = None
    if source.layers is not None:
        from rechunk_podman.oci.read.unpack import unpack

        begin_phase("unpacking")
        with gc_paused():
            unpacked = unpack(source.layers, source.rootfs)
    with Root(source.rootfs) as root:
        yield Files(root, unpacked)


def _workers(options: BuildOptions) -> Workers:
    return Workers(options.threads or len(os.sched_getaffinity(0)))


def prepare(
    files: Files,
    source: Source,
    options: BuildOptions,
    workers: Workers,
    reuse: Container[DiffId] = (),
    on_scan: Callable[[int], None] | None = None,
) -> Prepared:
    """Scan the files, find their components and plan the layers, with the help of the workers.

    Args:
        reuse: diff_ids of the layers that the destination has, among which layers of other tools may stay.
        on_scan: called with the bytes of all files, before any of them is read.

    Raises:
        RechunkError: the config or the root filesystem is unusable, or on_scan raised it.
    """
    root = files.root
    given = ImageConfig() if source.config is None else ImageConfig.parse(source.config)
    # This raises for malformed operations before the long work.
    _configured(given, options)
    rules = Rules(options.map, group_file.load(options.groups).groups)
    prune = (*options.prune, *_sysroot(root, options))
    databases = Databases(root, workers, prune=prune, strict=options.strict)
    begin_phase("scanning")
    skip, selinux = options.skip_special_files, options.selinux == "keep"
    if files.unpacked is None:
        tree = scan(root, prune=prune, skip_special_files=skip, keep_selinux=selinux, workers=workers)
        without_root_label(tree)
    else:
        tree = described_scan(
            root, files.unpacked, prune=prune, skip_special_files=skip, keep_selinux=selinux
        )
    refuse_sealed(root, tree)
    if options.clean:
        tree = without_leftovers(root, tree, options.clean)
    if options.selinux == "policy":
        label_by_policy(root, tree)
    size = _size(tree, options.max_size)
    log.info("scan: %d paths, %s", len(tree), human_size(size))
    if on_scan is not None:
        on_scan(size)
    if "sysroot/ostree/repo" in tree:
        log.warning(
            "/sysroot holds an ostree repository, a second copy of what it was deployed as: "
            "--bootc, or --prune /sysroot/, leaves it out"
        )
    begin_phase("reading")
    assignment = assign(
        root,
        tree,
        keep_mtime=options.keep_mtime,
        root_mode=options.root_mode,
        workers=workers,
        databases=databases,
        rules=rules,
    )
    begin_phase("planning")
    bootable = identity.bootable_labels(given.labels, tree, bootc=options.bootc)
    if bootable.operations:
        log.log(NOTE, "labels set (KEY=VALUE) and dropped (KEY-): %s", ", ".join(bootable.operations))
    config = _configured(given.with_labels(bootable.operations), options)
    components = assignment.components
    log.info("assign: %d components, %d bytes", len(components), sum(c.size for c in components))
    built = max((c.built for c in components if c.built is not None), default=0)
    created = resolve_created(config, source_date_epoch=options.created, fallback=built)
    # The current time would make builds of the same files differ; an image older than its content
    # (SOURCE_DATE_EPOCH=0) must not hide the changelogs.
    memory = [ledger for ledger in (source.previous, source.base) if ledger is not None]
    now = max(created, built, *(date for ledger in memory for date in ledger.dates[-1:]))
    kept: tuple[KeptLayer, ...] = ()
    among = None
    if source.base is None and source.foreign is not None and has_room(components, source.previous):
        from rechunk_podman.build.adopt import kept_layers

        kept, components = kept_layers(root, tree, assignment, source.foreign, reuse, options, workers)
        among = Kept(
            [(diff_id_prefix(layer.diff_id), layer.components) for layer in kept], source.foreign.prefixes
        )
    still = [diff_id_prefix(layer.diff_id) for layer in kept]
    layout = within_limit(
        lambda limit: lay_out(
            components,
            source.previous,
            source.base,
            among,
            max_layers=options.max_layers,
            now=now,
            parts=options.parts,
            max_layer_size=limit,
        ),
        lambda layout: TarSource(root, tree, written_mtimes(layout, assignment), options.root_mode),
        options.max_layer_size,
        [*still, *(layer.prefix for layer in (source.base.layers if source.base else ()))],
    )
    made = layout.plan
    in_parts = {unit.id.whole for unit in layout.units if unit.id.part}
    folded = sum(len(unit.members) for unit in layout.units)
    if in_parts or folded:
        log.info("plan: %d components in parts, %d folded", len(in_parts), folded)
    log.info("plan: %d layers, %s", len(made.layers), "from memory" if memory else "without memory")
    for note in made.notes:
        log.info("plan: %s", note)
    if source.previous is not None and source.base is None:
        _tell_of_kept_layers(made, source.previous, options, len(components))
    return Prepared(tree, assignment, layout, config, created, now, options.max_layers, kept)


def build(
    source: Source,
    options: BuildOptions,
    output: Output,
    *,
    reuse: Reuse | None = None,
    reuse_from: str | None = None,
    on_scan: Callable[[int], None] | None = None,
    on_plan: Callable[[Prepared, int], None] | None = None,
    on_layer: Callable[[int, Layer], None] | None = None,
    on_layers: Callable[[Sequence[Layer]], None] | None = None,
) -> WrittenImage:
    """Build an image from a root filesystem; it appears at `output` whole or not at all.

    Args:
        reuse, reuse_from: see write_image().
        on_scan: see prepare().
        on_plan: called before anything is written; its second argument is the bytes (uncompressed) of the
            layers to write.
        on_layers: called when all layers are complete, before the image appears.

    Raises:
        RechunkError: as prepare() and write_image(), and the errors of on_scan, on_plan and on_layers.
    """
    with opened(source) as files, _workers(options) as workers, gc_paused():
        prepared = prepare(files, source, options, workers, reuse or {}, on_scan)
        by_id = prepared.units
        kept = {} if source.foreign is None else source.foreign.tars(prepared.kept)
        expected = record.expected_layers(prepared.plan, {*(reuse or {}), *kept})
        specs = [
            LayerSpec(
                np.concatenate([by_id[ident].positions for ident in layer.components]),
                sum(by_id[ident].size for ident in layer.components),
                record.layer_annotations(layer, by_id, len(expected)),
                diff_id,
                None if diff_id is None else kept.get(diff_id),
            )
            for layer, diff_id in zip(prepared.plan.layers, expected, strict=True)
        ]
        if on_plan is not None:
            on_plan(prepared, sum(spec.size for spec in specs if spec.expected not in (reuse or {})))
        all_expected = all(spec.expected is not None for spec in specs)
        plain = "hashing" if all_expected else "writing layers"
        begin_phase(
            plain if options.compression.kind == "none" or all_expected else "compressing",
            sum(spec.size for spec in specs),
        )

        def finish(layers: Sequence[Layer]) -> ImageDocuments:
            if on_layers is not None:
                on_layers(layers)
            return _documents(source, options, prepared, by_id, layers, reuse or {})

        image = write_image(
            TarSource(
                files.root,
                prepared.tree,
                written_mtimes(prepared.layout, prepared.assignment),
                options.root_mode,
            ),
            specs,
            finish=finish,
            output=output,
            compression=options.compression,
            workers=workers,
            tag=options.tag,
            reuse=reuse,
            reuse_from=reuse_from,
            on_layer=on_layer,
        )
    log.info("write: %s, manifest %s", output, image.manifest_descriptor.digest)
    return image


def _size(tree: Tree, limit: int | None) -> int:
    """Return the bytes of all files, each hard-link group once.

    Raises:
        RootfsError: the sum is more than the limit.
    """
    sizes = np.where(tree.column("kind") == Kind.FILE, tree.column("size"), 0)
    sizes[list(tree.leader)] = 0
    total = int(sizes.sum())
    if limit is not None and total > limit:
        largest = int(sizes.argmax())
        raise RootfsError(
            f"the files have {human_size(total)} together, more than --max-size allows: {human_size(limit)}",
            context=[f"the largest: /{tree.paths[largest]}, {human_size(int(sizes[largest]))}"],
            hint="--prune PATH leaves a file out",
        )
    return total


def _tell_of_kept_layers(made: Plan, previous: Ledger, options: BuildOptions, components: int) -> None:
    """Log a note if nothing changed and there are fewer layers than requested."""
    count = len(made.layers)
    asked = options.max_layers != DEFAULT_MAX_LAYERS and count < min(options.max_layers, components)
    if asked and made.layers == previous.layers:
        log.log(
            NOTE,
            "nothing changed: the %d layers of the previous image stay, and become up to %d as content "
            "changes; --fresh plans anew, which clients download whole",
            count,
            options.max_layers,
        )


def _configured(config: ImageConfig, options: BuildOptions) -> ImageConfig:
    return (
        config.with_labels(options.labels)
        .with_annotations(options.annotations)
        .with_architecture(options.arch)
    )


def _sysroot(root: Root, options: BuildOptions) -> tuple[str, ...]:
    """Return the paths to prune in a bootable image: the ostree repository of its base."""
    if not options.bootc:
        return ()
    try:
        root.stat("sysroot")
    except RootfsError:
        return ()
    log.log(NOTE, "bootc: what /sysroot holds is left out")
    return ("/sysroot/",)


def _documents(
    source: Source,
    options: BuildOptions,
    prepared: Prepared,
    by_id: Mapping[ComponentId, Component],
    layers: Sequence[Layer],
    reuse: Reuse,
) -> ImageDocuments:
    """Return the config (with history and Ledger) and the annotations for the written layers."""
    history = record.layer_history(prepared.plan, by_id, layers, {layer.diff_id for layer in prepared.kept})
    config = record.without_ledger(prepared.config)
    if options.record:
        previous = source.base if source.previous is None else source.previous
        ledger = Ledger.advance(
            prepared.layout.memory,
            prepared.layout.units,
            prepared.plan,
            [layer.diff_id for layer in layers],
            date=prepared.now,
            compressor=_compressor(options, previous, layers, reuse),
        )
        config, history = record.with_ledger(config, history, ledger)
    chosen = options.format or Format.OCI
    if chosen is Format.DOCKER and config.annotations:
        log.warning("docker's format has no annotations: left out %s", ", ".join(sorted(config.annotations)))
    document = image_config_json(config, layers, history, prepared.created)
    return ImageDocuments(document, config.annotations, chosen)


def _compressor(
    options: BuildOptions, previous: Ledger | None, layers: Sequence[Layer], reuse: Reuse
) -> Compressor | None:
    """Return the program that made the blobs; if all are reused, the one in the previous Ledger."""
    if previous is not None and all(layer.diff_id in reuse for layer in layers):
        return previous.compressor
    program = options.compression.program
    return None if program is None else Compressor(*program)
