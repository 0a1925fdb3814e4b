"""The last stage of a build: write the planned layers of a Tree as an image at its destination."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.files import output_error
from rechunk_podman.model import Positions
from rechunk_podman.native import TarStream
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import DiffId, Digest, Layer
from rechunk_podman.oci.write.archive import ArchiveWriter
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.docker_archive import DockerArchiveWriter
from rechunk_podman.oci.write.documents import Destination, ImageDocuments, WrittenImage, assemble
from rechunk_podman.oci.write.layers import BlobFile, write_layer
from rechunk_podman.oci.write.layout import LayoutWriter
from rechunk_podman.oci.write.output import Output, OutputKind
from rechunk_podman.oci.write.stream import TarSource
from rechunk_podman.workers import Workers

log = logging.getLogger("rechunk_podman")

_COSTS = {"none": 1, "zstd": 5, "gzip": 17}
"""Compression -> time to write a layer, as a multiple of the time to hash it (docs/performance.md)."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptTar:
    """A layer that stays as another tool made it.

    size: bytes of its tar.
    copy: writes its blob into a file, and returns the layer; None only if `reuse` of write_image() has it.
    """

    size: int
    copy: Callable[[BlobFile], Layer] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LayerSpec:
    """A layer to be written.

    positions: of its entries, without ancestor directories; ROOT adds `./`.
    size: approximate bytes; larger layers are written first.
    annotations: of its descriptor.
    expected: the diff_id that it will probably have; see `reuse` of write_image().
    kept: a layer that another tool made, which has the diff_id `expected`; None: the layer is made of its
        positions.
    """

    positions: Positions
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    expected: DiffId | None = None
    kept: KeptTar | None = None


def write_image(
    source: TarSource,
    layers: Sequence[LayerSpec],
    *,
    finish: Callable[[Sequence[Layer]], ImageDocuments],
    output: Output,
    compression: Compression = Compression(),  # noqa: B008 (frozen)
    workers: Workers | None = None,
    tag: str | None = None,
    reuse: Reuse | None = None,
    reuse_from: str | None = None,
    on_layer: Callable[[int, Layer], None] | None = None,
) -> WrittenImage:
    """Write an image, which appears whole or not at all. Its bytes are the same for any number of threads.

    Args:
        layers: bottom first.
        finish: makes config and annotations from the layers; if it raises, no output remains.
        workers: threads that write layers; as many may compress one. Without them this thread writes.
        tag: the full reference in the image, or None.
        reuse: layers that the destination of an OCI layout already has, so that they need not be written:
            diff_id -> descriptor of the blob, None if the blob is the uncompressed tar. A layer that is
            `expected` to be one of them is hashed first, and written only if it is not.
        reuse_from: the image with these layers, for the record in the layout.
        on_layer: called with the index of each complete layer, in any order.

    Raises:
        UsageError: the output cannot be written in this form.
        RootfsError: the root filesystem is unreadable, or changed since the scan.
        RechunkError: the output cannot be written.
    """
    known: Reuse = (reuse or {}) if output.kind is OutputKind.OCI else {}
    workers = workers or Workers(1)
    with ExitStack() as stack:
        destination = _open(output, compression)
        stack.callback(destination.__exit__, None, None, None)
        done: dict[int, Layer] = {}
        written: set[Digest] = set()
        for index, layer in _write_layers(workers, source, layers, destination, compression, known):
            annotations = layers[index].annotations
            reused = layer.diff_id in known
            if reused:
                size = layer.uncompressed_size
                descriptor = known[layer.diff_id] or Layer.plain(layer.diff_id, size).descriptor
                layer = Layer(layer.diff_id, descriptor, size)
            else:
                destination.complete(index, layer)
                written.add(layer.descriptor.digest)
            # restore annotations that transports dropped from the previous image; existing ones win
            annotations = {**annotations, **layer.descriptor.annotations}
            layer = replace(layer, descriptor=replace(layer.descriptor, annotations=annotations))
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
        elsewhere = {layer.descriptor.digest for layer in finished} - written
        image = replace(
            assemble(finish(finished), finished, tag),
            elsewhere=tuple(sorted(elsewhere)),
            origin=reuse_from if elsewhere else None,
        )
        destination.commit(image)
    return image


def _write_layers(
    workers: Workers,
    source: TarSource,
    layers: Sequence[LayerSpec],
    destination: Destination,
    compression: Compression,
    known: Reuse,
) -> Iterator[tuple[int, Layer]]:
    """Yield (index, layer) of every layer, the longest work first.

    A layer that is expected to be known is hashed first, and written only if it is not. Known layers leave
    nothing at the destination.
    """
    costs = [spec.size * (1 if spec.expected in known else _COSTS[compression.kind]) for spec in layers]
    order = sorted(range(len(layers)), key=lambda index: (-costs[index], index))
    threads = max(1, workers.count // max(1, len(layers)))
    files: dict[int, BlobFile] = {}

    def make_jobs(indices: Sequence[int], hashed: Container[int]) -> Iterator[tuple[int, TarStream]]:
        for index in indices:
            stream = source.stream(layers[index].positions)
            if index not in hashed:
                files[index] = destination.blob_file(index, stream.size)
            yield index, stream

    def write(jobs: Iterator[tuple[int, TarStream]]) -> Iterator[tuple[int, Layer]]:
        for index, stream in jobs:
            file = files.get(index)
            yield index, write_layer(source.root, stream, file, compression, threads, workers.ended)

    for index, spec in enumerate(layers):
        if spec.kept is not None and spec.expected is not None:
            order.remove(index)
            if spec.expected in known or spec.kept.copy is None:
                yield index, Layer.plain(spec.expected, spec.kept.size)
            else:
                yield index, spec.kept.copy(destination.blob_file(index, spec.kept.size))
    expected = {index for index in order if layers[index].expected in known}
    unexpected: list[int] = []
    for indices, hashed in ((order, expected), (unexpected, ())):
        for index, layer in workers.share(write, make_jobs(indices, hashed)):
            if index in hashed and layer.diff_id not in known:
                unexpected.append(index)
                continue
            if index not in hashed and layer.diff_id in known:
                _remove(files[index].path)
            yield index, layer


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
