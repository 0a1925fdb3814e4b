"""Images in OCI layouts, OCI archives and docker archives: their documents and their layers.

Sources: image-spec v1.1 image-layout.md, image-index.md, layer.md; the manifest.json of `docker save`.
Images are not trusted: the size of documents is bounded, digests are checked.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from rechunk_podman.errors import ImageError, MissingImageError, UsageError
from rechunk_podman.oci.documents import (
    INDEXES,
    MANIFESTS,
    ImageRecord,
    image_record,
    is_artifact,
    layer_compression,
    parse_docker_manifest,
    parse_manifest,
)
from rechunk_podman.oci.platform import HINT, fitting, platform_of, require_platform
from rechunk_podman.oci.read.choose import choose, familiar
from rechunk_podman.oci.read.decompress import (
    CHUNK,
    GZIP,
    PLAIN,
    ZSTD,
    Frames,
    GzipReader,
    ZstdReader,
    detect,
    zstd_frames,
)
from rechunk_podman.oci.read.stores import ArchiveStore, DirectoryStore, Store, blob_name, read_document
from rechunk_podman.oci.reference import (
    DOCKER_ARCHIVE,
    OCI,
    OCI_ARCHIVE,
    PathReference,
    is_layout,
    parse_path,
)
from rechunk_podman.oci.spec import DiffId, Digest

MAX_DEPTH = 4
"""The largest number of nested indexes that are followed."""


class HashingReader(io.RawIOBase):
    """A stream that hashes and counts the bytes of another stream.

    Args:
        ended: once it is set, a read raises CancelledError.
    """

    def __init__(self, source: Any, ended: Event | None = None) -> None:
        self._source = source
        self._ended = ended
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._ended is not None and self._ended.is_set():
            raise CancelledError
        count = self._source.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self.size += count
        return int(count)

    def drain(self) -> None:
        """Read the rest."""
        scratch = bytearray(1 << 20)
        while self.readinto(scratch):
            pass

    @property
    def digest(self) -> Digest:
        """The digest of the bytes read so far."""
        return Digest("sha256:" + self._hash.hexdigest())


def check_container(file: BinaryIO, size: int, name: str) -> tuple[str, Frames | None]:
    """Return the compression of a seekable blob, and its zstd frames; rewind the file.

    The magic number decides, as in clients: tools write plain blobs with media types of compressed ones.

    Raises:
        ImageError: this program cannot read the compression, or zstd data is truncated.
    """
    file.seek(0)
    compression = detect(file.read(8))
    if compression not in (PLAIN, GZIP, ZSTD):
        raise ImageError(f"{name} is compressed by {compression}", hint="compress it by gzip or zstd")
    frames = zstd_frames(file, size, name) if compression == ZSTD else None
    file.seek(0)
    return compression, frames


def decompressor(source: Any, compression: str, name: str) -> Any:
    """Return a raw stream of the uncompressed bytes of `source`; `source` itself if it is not compressed."""
    if compression == GZIP:
        return GzipReader(source, name)
    return ZstdReader(source, name) if compression == ZSTD else source


class ImageSource:
    """One image in a store: its record, and its layers as streams. A context manager."""

    def __init__(self, store: Store, record: ImageRecord, files: tuple[str, ...]) -> None:
        self.store = store
        self.record = record
        self._files = files

    @property
    def name(self) -> str:
        """The reference or path of the image, for messages."""
        return self.record.name

    @contextmanager
    def layer(self, index: int, ended: Event | None = None) -> Iterator[Any]:
        """Yield the uncompressed tar of a layer (0 is the bottom); hash it while it is read.

        It is a buffered binary stream, whose `raw` is a HashingReader, which gets `ended`.

        Raises:
            ImageError: the blob is missing, damaged or of another size; or, at the end of the block, the tar
                does not match its diff_id.
        """
        record = self.record.layers[index]
        name = f"{self.name}: layer {index + 1} of {len(self.record.layers)}"
        with self.store.open(self._files[index]) as file:
            size = file.seek(0, io.SEEK_END)
            if record.descriptor is not None:
                layer_compression(record.descriptor.media_type, name)
                if size != record.descriptor.size:
                    raise ImageError(f"{name} has {size} bytes, its descriptor says {record.descriptor.size}")
            compression, _ = check_container(file, size, name)
            stream = HashingReader(decompressor(file, compression, name), ended)
            yield io.BufferedReader(stream, CHUNK)
            stream.drain()
        if DiffId(stream.digest) != record.diff_id:
            raise ImageError(
                f"{name} is not the one that its diff_id names",
                context=[f"it is {stream.digest}, the config says {record.diff_id}"],
                hint="the image is damaged or forged: do not use it",
            )

    def has_blob(self, index: int) -> bool:
        """Return False if the blob of a layer is missing or cut off, as far as its size tells."""
        sizes = self.store.sizes()
        found, descriptor = sizes.get(self._files[index]), self.record.layers[index].descriptor
        return not sizes or (found is not None and (descriptor is None or found == descriptor.size))

    def blob(self, index: int) -> BinaryIO:
        """Open the blob of a layer, whose bytes nobody has checked; raise ImageError if it is missing."""
        return self.store.open(self._files[index])

    def compression(self, index: int) -> str:
        """Return the real compression of a layer's blob; raise ImageError if the blob is missing."""
        return detect(self.store.head(self._files[index]))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(reference: PathReference) -> tuple[str, Store]:
    """Return (transport, store) of a reference; detect the transport if the reference names none.

    Raises:
        UsageError: the path does not exist, or is not an image.
        ImageError: the image is damaged.
    """
    path = Path(reference.path)
    transport = reference.transport
    if not path.exists():
        raise UsageError(
            f"no such file or directory: {path}",
            hint="name an OCI layout, an OCI archive or a docker archive",
        )
    if transport == OCI or (transport is None and path.is_dir()):
        if not is_layout(path):
            if (path / "blobs").is_dir() or any(path.glob(".layout.*.partial")):
                raise ImageError(
                    f"a half-made OCI layout: {path}",
                    context=["it lacks oci-layout or index.json, and has blobs or a part of a layout"],
                    hint="the program that wrote it was interrupted: remove it, and write it again",
                )
            raise UsageError(f"not an OCI layout: {path}", hint="a layout holds oci-layout and index.json")
        return OCI, DirectoryStore(path)
    if path.is_dir():
        raise UsageError(f"not an archive but a directory: {path}", hint=f"for a layout, give oci:{path}")
    store = ArchiveStore(path)
    names = store.sizes()
    if transport is None:
        transport = OCI_ARCHIVE if "index.json" in names else DOCKER_ARCHIVE
    needed = "index.json" if transport == OCI_ARCHIVE else "manifest.json"
    if needed not in names:
        store.close()
        raise UsageError(f"not an image archive ({transport}): {path}", context=[f"it lacks {needed}"])
    return transport, store


def open_image(reference: str | Path | PathReference, platform: str | None = None) -> ImageSource:
    """Open one image.

    Args:
        platform: [OS/]ARCH[/VARIANT] of the image; None chooses that of this machine among several.

    Raises:
        UsageError: the path does not exist, is not an image, or holds several that the reference cannot tell
            apart.
        MissingImageError: there is no image for the platform.
        ImageError: the image is damaged.
    """
    if not isinstance(reference, PathReference):
        reference = parse_path(str(reference))
    transport, store = open_store(reference)
    try:
        if transport == DOCKER_ARCHIVE:
            return _open_docker(store, reference.tag, platform)
        try:
            return _open_oci(store, reference.tag, platform)
        except MissingImageError:
            raise
        except UsageError:
            # `docker save` writes both; older versions write full names only into manifest.json.
            if "manifest.json" not in store.sizes():
                raise
            with suppress(UsageError):
                return _open_docker(store, reference.tag, platform)
            raise
    except BaseException:
        store.close()
        raise


def _open_oci(store: Store, tag: str | None, platform: str | None) -> ImageSource:
    descriptor = choose(store, read_document(store, "index.json"), tag, platform)
    for _ in range(MAX_DEPTH):
        if descriptor.media_type not in INDEXES:
            break
        index = read_document(store, blob_name(descriptor.digest), descriptor)
        descriptor = choose(store, index, None, platform)
    if descriptor.media_type not in MANIFESTS:
        raise ImageError(f"{store.name} holds no image but {descriptor.media_type!r}")
    data = read_document(store, blob_name(descriptor.digest), descriptor)
    manifest = parse_manifest(data, f"the manifest of {store.name}")
    if is_artifact(manifest):
        raise UsageError(
            f"{store.name} holds an artifact, and no image",
            context=[f"its config is of the type {manifest.config.media_type!r}"],
        )
    config = read_document(store, blob_name(manifest.config.digest), manifest.config)
    record = image_record(store.name, data, config)
    return ImageSource(store, record, tuple(blob_name(layer.digest) for layer in manifest.layers))


def _open_docker(store: Store, tag: str | None, platform: str | None) -> ImageSource:
    images = parse_docker_manifest(read_document(store, "manifest.json"), store.name)
    chosen = [image for image in images if tag is None or familiar(tag) in map(familiar, image.tags)]
    if len(chosen) > 1 and platform is not None:
        configs = (image_record(store.name, None, read_document(store, one.config)).config for one in chosen)
        described = list(zip(chosen, map(platform_of, configs), strict=True))
        chosen = fitting(described, platform)
        if not chosen:
            raise MissingImageError(f"{store.name} has no image for {platform}", hint=HINT)
    if len(chosen) != 1:
        names = [", ".join(image.tags) or image.config for image in images]
        raise UsageError(
            f"{store.name} holds no image {tag}" if tag else f"{store.name} holds {len(images)} images",
            context=["it holds: " + ", ".join(names[:10])] if names else [],
            hint="name one as docker-archive:PATH:NAME",
        )
    image = chosen[0]
    record = image_record(store.name, None, read_document(store, image.config))
    if len(record.layers) != len(image.layers):
        raise ImageError(
            f"{store.name}: {len(image.layers)} layers, but {len(record.layers)} diff_ids in the config"
        )
    require_platform(store.name, record.config, platform)
    return ImageSource(store, record, image.layers)
