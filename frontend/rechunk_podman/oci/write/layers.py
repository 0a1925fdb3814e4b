"""Writing of tar streams as layer blobs: one pass over the contents, which are hashed while they are written.

Source: image-spec layer.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import NamedTuple

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import output_error, write_at
from rechunk_podman.native import TarStream, has_sha256
from rechunk_podman.oci.spec import Descriptor, DiffId, Digest, Layer
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.reserve import reserve
from rechunk_podman.rootfs.root import Root

_BUFFER = 1 << 15
"""Bytes that are read, hashed and written at once, at multiples of this size: see PIECE, sha256.h."""
_STRIDE = 32 << 20
"""Bytes after which write_layers() checks `ended`."""


class BlobFile(NamedTuple):
    """The file that a blob is written to: the open descriptor `fd` at `offset`, else the new file `path`."""

    path: str
    fd: int | None = None
    offset: int = 0

    @contextmanager
    def opened(self, reserved: int) -> Iterator[int]:
        """Open the file, and close it at the end unless `fd` was given.

        Args:
            reserved: bytes to reserve in a new file.

        Raises:
            RechunkError: the file cannot be made.
        """
        if self.fd is not None:
            yield self.fd
            return
        fd = -1
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            reserve(fd, 0, reserved)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise output_error(self.path, error) from error
        try:
            yield fd
        finally:
            os.close(fd)


class Job(NamedTuple):
    """A layer to be hashed, and to be written if it has a file.

    number: of the layer, chosen by the caller.
    stream: its unread tar.
    alone: True if the layer is too long to share a thread with another one.
    """

    number: int
    stream: TarStream
    file: BlobFile | None = None
    alone: bool = False


def write_layers(
    root: Root,
    jobs: Iterator[Job],
    compression: Compression,
    threads: int = 1,
    ended: Event | None = None,
) -> Iterator[tuple[int, Layer]]:
    """Hash and write layers, reading each file once. Yield (number, layer) as each is complete.

    Two layers are written at once if that is faster. Jobs are taken only when needed. The descriptor of a
    layer that is only hashed is that of its uncompressed tar.

    Args:
        root: the root filesystem of the streams.
        threads: the number that a compressor may use.
        ended: set when the layers are not needed any more.

    Raises:
        RootfsError: a file is unreadable, or changed since the scan.
        RechunkError: a blob cannot be written; `ended` was set.
    """
    running: dict[Job, ExitStack] = {}
    try:
        while True:
            while len(running) < 2 and not any(job.alone for job in running):
                new = next(jobs, None)
                if new is None:
                    break
                if has_sha256() and (new.file is None or compression.kind == "none"):
                    running[new] = _open_job(new)
                else:
                    yield new.number, write_layer(root, new.stream, new.file, compression, threads, ended)
            if not running:
                return
            _advance(root, list(running))
            for job in [job for job in running if job.stream.digest]:
                running.pop(job).close()
                digest = "sha256:" + (job.stream.digest or b"").hex()
                yield job.number, Layer.plain(digest, job.stream.size)
            _raise_if_ended(ended)
    finally:
        for opened in running.values():
            opened.close()


def _open_job(job: Job) -> ExitStack:
    """Open the file of a layer whose stream hashes and writes; the returned stack closes the file."""
    with ExitStack() as stack:
        fd = stack.enter_context(job.file.opened(job.stream.size)) if job.file else -1
        job.stream.into(fd, job.file.offset if job.file else 0)
        return stack.pop_all()


def _advance(root: Root, running: Sequence[Job]) -> None:
    """Hash and write further bytes of one layer or two."""
    streams = [job.stream for job in running]
    try:
        streams[0].advance(streams[1] if len(streams) > 1 else None, _STRIDE)
    except (OSError, LookupError) as error:
        if isinstance(error, OSError) and error.filename is None:
            path = next(job.file.path for job in running if job.file and job.stream.broken)
            raise output_error(path, error) from error
        raise root.read_error(error) from error


def _raise_if_ended(ended: Event | None) -> None:
    if ended is not None and ended.is_set():
        raise RechunkError("the layer is not needed any more")


def write_layer(
    root: Root,
    stream: TarStream,
    file: BlobFile | None,
    compression: Compression,
    threads: int = 1,
    ended: Event | None = None,
) -> Layer:
    """Hash and write one layer, like write_layers(), with any processor and any compression."""
    if file is None:
        compression = Compression()
    compressor = compression.compressor(stream.size, threads)
    raw = hashlib.sha256()
    stored = hashlib.sha256() if compressor else raw
    taken = written = 0
    with ExitStack() as stack:
        fd = stack.enter_context(file.opened(0 if compressor else stream.size)) if file else -1

        def store(data: bytes | memoryview) -> None:
            nonlocal written
            if file is not None:
                write_at(fd, data, file.offset + written, file.path)
            written += len(data)

        for data in _read(root, stream, _BUFFER - (file.offset % _BUFFER if file else 0)):
            taken += len(data)
            raw.update(data)
            if compressor is None:
                store(data)
            else:
                packed = compressor.compress(data)
                stored.update(packed)
                store(packed)
            _raise_if_ended(ended)
        if compressor is not None:
            packed = compressor.flush()
            stored.update(packed)
            store(packed)
    if taken != stream.size:
        raise RechunkError(f"a layer came to {taken} bytes, {stream.size} were announced")
    descriptor = Descriptor(compression.media_type, Digest("sha256:" + stored.hexdigest()), written)
    return Layer(DiffId("sha256:" + raw.hexdigest()), descriptor, taken)


def _read(root: Root, stream: TarStream, first: int) -> Iterator[memoryview]:
    """Yield all bytes of a stream: `first` bytes, then _BUFFER at a time; each yield reuses the memory."""
    buffer = bytearray(_BUFFER)
    limit = first
    # a buffer with a view cannot be resized
    with memoryview(buffer) as view:
        try:
            while filled := stream.fill(buffer, limit):
                yield view[:filled]
                limit = _BUFFER
        except (OSError, LookupError) as error:
            raise root.read_error(error) from error
