"""Tree + layers -> an image at its place: the last stage of a build."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.files import output_error
from rechunk_podman.model import Tree
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import MEDIA_LAYER, Descriptor, DiffId, Digest, Layer
from rechunk_podman.oci.write.archive import ArchiveWriter
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.docker_archive import DockerArchiveWriter
from rechunk_podman.oci.write.documents import Destination, ImageDocuments, WrittenImage, assemble
from rechunk_podman.oci.write.layers import Job, Target, Written, write_layers
from rechunk_podman.oci.write.layout import LayoutWriter
from rechunk_podman.oci.write.members import LayerSpec, Source, tar_stream
from rechunk_podman.oci.write.output import Output, OutputKind
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

__all__ = [
    "Compression",
    "ImageDocuments",
    "LayerSpec",
    "Output",
    "OutputKind",
    "WrittenImage",
    "write_image",
]

log = logging.getLogger("rechunk_podman")

_COSTS = {"none": 1, "zstd": 5, "gzip": 17}
"""How much longer than hashing a layer alone it takes to write it (docs/performance.md)."""


def write_image(
    root: Root,
    tree: Tree,
    layers: Sequence[LayerSpec],
    mtimes: Sequence[int] | None,
    *,
    finish: Callable[[Sequence[Layer]], ImageDocuments],
    output: Output,
    compression: Compression = Compression(),  # noqa: B008 (frozen)
    workers: Workers | None = None,
    tag: str | None = None,
    root_mode: int = 0o755,
    reuse: Reuse | None = None,
    reuse_from: str | None = None,
    on_layer: Callable[[int, Layer], None] | None = None,
) -> WrittenImage:
    """Writes an image; the same bytes for any number of threads. It appears whole or not at all.

    Args:
        layers: bottom first.
        mtimes: see Source.
        finish: makes config and annotations once the layers are known; its errors leave nothing behind.
        workers: threads that write layers; as many may compress one. Without them this one does.
        tag: the full reference that the image carries, or None for none.
        root_mode: permission bits of `./`, which a component with the path "" brings.
        reuse: layers that need not be written into an OCI layout, since the place it goes to has them:
            diff_id -> descriptor of the blob there; None: of the uncompressed tar itself. A layer that is
            `expected` to be one of them is hashed first, and written only if it is not.
        reuse_from: the image that has them, for the record in the layout.
        on_layer: called with the index of each layer as it is complete, in no particular order.

    Raises:
        UsageError: the output cannot be what it is asked to be.
        RootfsError: the root filesystem is unreadable, or changed since the scan.
        RechunkError: the output cannot be written.
    """
    source = Source(root, tree, mtimes, root_mode)
    known: Reuse = (reuse or {}) if output.kind is OutputKind.OCI else {}
    workers = workers or Workers(1)
    spare = max(1, workers.count // max(1, len(layers)))
    with ExitStack() as stack:
        destination = _open(output, compression)
        stack.callback(destination.__exit__, None, None, None)
        done: dict[int, Layer] = {}
        here: set[Digest] = set()
        for index, written in _written(workers, source, layers, destination, compression, spare, known):
            identity = DiffId(written.diff_id)
            annotations = layers[index].annotations
            reused = identity in known
            if reused:
                descriptor = known[identity] or Descriptor(
                    MEDIA_LAYER, Digest(identity), written.uncompressed
                )
                # What transports dropped from the image before comes back; what it says stands.
                kept = {**annotations, **descriptor.annotations}
                descriptor = replace(descriptor, annotations=kept)
                layer = Layer(identity, descriptor, written.uncompressed)
            else:
                destination.placed(index, written)
                layer = written.layer(compression.media_type, annotations)
                here.add(layer.descriptor.digest)
            done[index] = layer
            log.debug(
                "layer %d/%d: %d bytes, %s%s",
                index + 1,
                len(layers),
                layer.descriptor.size,
                layer.diff_id,
                " (reused)" if reused else "",
            )
            if on_layer:
                on_layer(index, layer)
        finished = tuple(done[index] for index in range(len(layers)))
        elsewhere = {layer.descriptor.digest for layer in finished} - here
        image = replace(
            assemble(finish(finished), finished, tag),
            elsewhere=tuple(sorted(elsewhere)),
            origin=reuse_from if elsewhere else None,
        )
        destination.commit(image)
    return image


def _written(
    workers: Workers,
    source: Source,
    layers: Sequence[LayerSpec],
    destination: Destination,
    compression: Compression,
    threads: int,
    known: Reuse,
) -> Iterator[tuple[int, Written]]:
    """Every layer, the longest work first: its index, and what came of it.

    One that is expected to be known is first hashed, and written only if it is not. Of those that are known
    nothing stays at the destination.
    """
    costs = [
        sum(component.size for component in spec.components)
        * (1 if spec.expected in known else _COSTS[compression.kind])
        for spec in layers
    ]
    order = sorted(range(len(layers)), key=lambda index: (-costs[index], index))
    targets: dict[int, Target] = {}

    def jobs(indices: Sequence[int], hashed: Container[int]) -> Iterator[tuple[int, Job]]:
        left = sum(costs[index] for index in indices)
        for index in indices:
            stream = tar_stream(source, layers[index])
            target = None if index in hashed else destination.target(index, stream.size)
            if target is not None:
                targets[index] = target
            # two layers in each thread: one of more than such a share would be what all wait for
            alone = costs[index] * 2 * workers.count > left
            left -= costs[index]
            yield index, Job(stream, target, alone)

    def write(mine: Iterator[tuple[int, Job]]) -> Iterator[tuple[int, Written]]:
        return write_layers(source.root, mine, compression, threads, workers.ended)

    expected = {index for index in order if layers[index].expected in known}
    surprises: list[int] = []
    for indices, hashed in ((order, expected), (surprises, ())):
        for index, written in workers.share(write, jobs(indices, hashed)):
            if index in hashed and written.diff_id not in known:
                surprises.append(index)
                continue
            if index not in hashed and written.diff_id in known:
                _remove(targets[index].path)
            yield index, written


def _remove(path: str) -> None:
    try:
        Path(path).unlink()
    except OSError as error:
        raise output_error(path, error) from error


def _open(output: Output, compression: Compression) -> Destination:
    if output.kind is OutputKind.OCI:
        if output.path is None:
            raise UsageError("an OCI layout needs a path", hint="--output oci:PATH")
        return LayoutWriter(output.path)
    if output.kind is OutputKind.OCI_ARCHIVE:
        return ArchiveWriter(output.path, compressed=compression.kind != "none")
    if compression.kind != "none":
        raise UsageError(
            "a docker-archive holds its layers uncompressed",
            hint="leave out --compression, or write oci-archive:",
        )
    return DockerArchiveWriter(output.path)
