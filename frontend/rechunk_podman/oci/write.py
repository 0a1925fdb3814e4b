"""Tree + layers -> an image at its place: the last stage of a build."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.model import Tree
from rechunk_podman.oci.archive import ArchiveWriter
from rechunk_podman.oci.compress import Compression
from rechunk_podman.oci.docker_archive import DockerArchiveWriter
from rechunk_podman.oci.image import Destination, ImageDocuments, WrittenImage, assemble
from rechunk_podman.oci.layers import Written, output_error, write_layer
from rechunk_podman.oci.layout import LayoutWriter
from rechunk_podman.oci.members import LayerSpec, Source, pack
from rechunk_podman.oci.output import Output, OutputKind
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import MEDIA_LAYER, Descriptor, DiffId, Digest, Layer
from rechunk_podman.oci.workers import run
from rechunk_podman.rootfs.root import Root

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


def write_image(
    root: Root,
    tree: Tree,
    layers: Sequence[LayerSpec],
    mtimes: Mapping[str, int],
    *,
    finish: Callable[[Sequence[Layer]], ImageDocuments],
    output: Output,
    compression: Compression = Compression(),  # noqa: B008 (frozen)
    threads: int = 1,
    tag: str | None = None,
    root_mode: int = 0o755,
    reuse: Reuse | None = None,
    reuse_from: str | None = None,
    on_layer: Callable[[int, Layer], None] | None = None,
) -> WrittenImage:
    """Writes an image; the same bytes for any number of threads. It appears whole or not at all.

    Args:
        layers: bottom first.
        mtimes: times of single paths (oci/tar.py: entry_mtime).
        finish: makes config and annotations once the layers are known; its errors leave nothing behind.
        threads: processes that write layers (1: this one alone does). More than one needs a process
            without other Python threads.
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
    packed = [pack(source, spec) for spec in layers]
    sizes = [layer.size for layer in packed]
    known: Reuse = (reuse or {}) if output.kind is OutputKind.OCI else {}
    order = sorted(range(len(layers)), key=lambda index: (-sizes[index], index))
    spare = max(1, threads // max(1, len(layers)))
    destination = _open(output, sizes, compression)

    def work(index: int) -> tuple[str, str, int, int, bool]:
        layer = packed[index]
        if layers[index].expected in known:
            hashed = write_layer(root, layer, None, compression)
            if hashed.diff_id in known:
                return (*hashed, True)
        target = destination.target(index)
        written = write_layer(root, layer, target, compression, threads=spare)
        if written.diff_id not in known:
            return (*written, False)
        try:
            Path(target.path).unlink()
        except OSError as error:
            raise output_error(target.path, error) from error
        return (*written, True)

    try:
        done: dict[int, Layer] = {}
        here: set[Digest] = set()
        for index, (*values, reused) in run(order, work, threads):
            written = Written(*values)
            annotations = layers[index].annotations
            if reused:
                identity = DiffId(written.diff_id)
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
    finally:
        destination.__exit__(None, None, None)
    return image


def _open(output: Output, sizes: Sequence[int], compression: Compression) -> Destination:
    if output.kind is OutputKind.OCI:
        if output.path is None:
            raise UsageError("an OCI layout needs a path", hint="--output oci:PATH")
        return LayoutWriter(output.path)
    if output.kind is OutputKind.OCI_ARCHIVE:
        return ArchiveWriter(output.path, sizes if compression.kind == "none" else None)
    if compression.kind != "none":
        raise UsageError(
            "a docker-archive holds its layers uncompressed",
            hint="leave out --compression, or write oci-archive:",
        )
    return DockerArchiveWriter(output.path, sizes)
