"""Members -> a layer blob: one pass over their content, hashed while it is written.

Source: image-spec layer.md.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from threading import Event
from typing import NamedTuple

from rechunk_podman.errors import RechunkError
from rechunk_podman.oci._stream import TarStream
from rechunk_podman.oci.compress import Compression
from rechunk_podman.oci.reserve import reserve
from rechunk_podman.oci.spec import Descriptor, DiffId, Digest, Layer
from rechunk_podman.rootfs.root import Root

_BUFFER = 1 << 16
"""Bytes that are read, hashed and written at once: they stay in the processor's cache meanwhile. Written at
multiples of itself, and no more at once: page caches look for memory in one piece for larger ones."""


class Target(NamedTuple):
    """Where a blob goes: into the open descriptor `fd` at `offset`, or into the new file `path`."""

    path: str
    fd: int | None = None
    offset: int = 0


class Written(NamedTuple):
    """What came of a layer. size, uncompressed: bytes of the blob, of its tar."""

    diff_id: str
    digest: str
    size: int
    uncompressed: int

    def layer(self, media_type: str, annotations: Mapping[str, str]) -> Layer:
        """The Layer of a blob with these bytes."""
        descriptor = Descriptor(media_type, Digest(self.digest), self.size, annotations)
        return Layer(DiffId(self.diff_id), descriptor, self.uncompressed)


def write_layer(
    root: Root,
    stream: TarStream,
    target: Target | None,
    compression: Compression,
    threads: int = 1,
    ended: Event | None = None,
) -> Written:
    """Writes one layer, reading each file once; without a target it is only hashed.

    Args:
        stream: the layer's tar, fresh; of this root filesystem.
        threads: how many a compressor may use.
        ended: once it is set, nobody wants the layer any more.

    Raises:
        RootfsError: a file is unreadable, or is not what the scan saw.
        RechunkError: the blob cannot be written; nobody wants it.
    """
    sink = _Sink(target, compression, stream.size, threads)
    try:
        buffer = bytearray(_BUFFER)
        # as long as there is a view of it, the buffer keeps its size
        with memoryview(buffer) as view:
            for filled in _fillings(root, stream, buffer, sink.first):
                sink.write(view[:filled])
                if ended is not None and ended.is_set():
                    raise RechunkError("the layer is not wanted any more")
        written = sink.finish()
    finally:
        sink.close()
    if written.uncompressed != stream.size:
        raise RechunkError(f"a layer came to {written.uncompressed} bytes, {stream.size} were announced")
    return written


def _fillings(root: Root, stream: TarStream, buffer: bytearray, first: int) -> Iterator[int]:
    """Fills the buffer again and again, the first time with so many bytes: how many each filling has."""
    limit = first
    try:
        while filled := stream.fill(buffer, limit):
            yield filled
            limit = len(buffer)
    except (OSError, LookupError) as error:
        raise root.unread(error) from error


class _Sink:
    """Hashes, compresses and writes one blob."""

    def __init__(self, target: Target | None, compression: Compression, size: int, threads: int) -> None:
        self.target = target
        self.written = self.taken = 0
        self.first = _BUFFER - (target.offset % _BUFFER if target else 0)
        self.raw = self.stored = hashlib.sha256()
        self.compressor = compression.compressor(size, threads) if target else None
        if self.compressor:
            self.stored = hashlib.sha256()
        self.fd = -1
        if target and target.fd is not None:
            self.fd = target.fd
        elif target:
            try:
                self.fd = os.open(target.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                if self.compressor is None:
                    reserve(self.fd, 0, size)
            except OSError as error:
                self.close()
                raise output_error(target.path, error) from error

    def write(self, data: memoryview) -> None:
        self.taken += len(data)
        self.raw.update(data)
        if self.compressor:
            packed = self.compressor.compress(data)
            self.stored.update(packed)
            self._store(packed)
        else:
            self._store(data)

    def _store(self, data: bytes | memoryview) -> None:
        if self.target:
            write_at(self.fd, data, self.target.offset + self.written, self.target.path)
        self.written += len(data)

    def finish(self) -> Written:
        if self.compressor:
            packed = self.compressor.flush()
            self.stored.update(packed)
            self._store(packed)
        return Written(
            "sha256:" + self.raw.hexdigest(), "sha256:" + self.stored.hexdigest(), self.written, self.taken
        )

    def close(self) -> None:
        if self.target and self.target.fd is None and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def write_at(fd: int, data: bytes | memoryview, offset: int, path: str) -> None:
    """pwrite(2) of everything; `path` names the file in errors (RechunkError)."""
    try:
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: str, cause: OSError) -> RechunkError:
    """The RechunkError that an OSError on the output becomes; to be raised from it."""
    hint = None
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or write to another file system"
    elif cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        hint = "name a place that exists and may be written to (--output)"
    elif cause.errno == errno.EFBIG:
        hint = "raise the limit of file sizes (ulimit -f), or use another file system"
    return RechunkError(f"cannot write {path}: {cause.strerror}", hint=hint)
