"""Writing of tar streams as layer blobs: one pass over the contents, which are hashed while they are written.

Source: image-spec layer.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import NamedTuple

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import output_error, write_at
from rechunk_podman.native import TarStream
from rechunk_podman.oci.spec import Descriptor, DiffId, Digest, Layer
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.reserve import reserve
from rechunk_podman.rootfs.root import Root

_BUFFER = 1 << 18
"""Bytes that are read and hashed at once: few enough to stay in the processor's cache."""


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
    """Hash a layer, and write it if it has a file. Each file of the root filesystem is read once.

    The descriptor of a layer that is only hashed is that of its uncompressed tar.

    Args:
        root: the root filesystem of the stream.
        stream: the unread tar of the layer.
        threads: the number that a compressor may use.
        ended: set when the layer is not needed any more.

    Raises:
        RootfsError: a file is unreadable, or changed since the scan.
        RechunkError: the blob cannot be written; `ended` was set.
    """
    if file is None:
        compression = Compression()
    compressor = compression.compressor(stream.size, threads)
    raw = hashlib.sha256()
    with ExitStack() as stack:
        fd = stack.enter_context(file.opened(0 if compressor else stream.size)) if file else -1
        target = -1 if compressor else fd
        if compressor is None or file is None:
            for data in _read(root, stream, file, target):
                raw.update(data)
                _raise_if_ended(ended)
            return Layer.plain("sha256:" + raw.hexdigest(), stream.size)
        blob = _Blob(fd, file)
        for data in _read(root, stream, None, -1):
            raw.update(data)
            blob.write(compressor.compress(data))
            _raise_if_ended(ended)
        blob.write(compressor.flush())
    descriptor = Descriptor(compression.media_type, Digest("sha256:" + blob.digest.hexdigest()), blob.size)
    return Layer(DiffId("sha256:" + raw.hexdigest()), descriptor, stream.size)


class _Blob:
    """A blob that is hashed while it is written."""

    def __init__(self, fd: int, file: BlobFile) -> None:
        self._fd, self._file = fd, file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        write_at(self._fd, data, self._file.offset + self.size, self._file.path)
        self.size += len(data)


def _read(root: Root, stream: TarStream, file: BlobFile | None, target: int) -> Iterator[memoryview]:
    """Yield all bytes of a stream, which are also written to `target` unless it is -1.

    Each yield reuses the memory.

    Raises:
        RechunkError: as write_layer(); the stream has another length than it announced.
    """
    buffer = bytearray(_BUFFER)
    start = file.offset if file else 0
    taken = 0
    # a buffer with a view cannot be resized
    with memoryview(buffer) as view:
        try:
            while filled := stream.fill(buffer, _BUFFER, target, start + taken):
                yield view[:filled]
                taken += filled
        except (OSError, LookupError) as error:
            if file is not None and isinstance(error, OSError) and error.filename is None:
                raise output_error(file.path, error) from error
            raise root.read_error(error) from error
    if taken != stream.size:
        raise RechunkError(f"a layer came to {taken} bytes, {stream.size} were announced")
