"""Members -> layer blobs: one pass over their content, hashed while it is written.

Source: image-spec layer.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
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

_BUFFER = 1 << 16
"""Bytes that are read, hashed and written at once: they stay in the processor's cache meanwhile. Written at
multiples of itself, and no more at once: page caches look for memory in one piece for larger ones."""
_STRIDE = 32 << 20
"""Bytes after which a layer that is being written looks whether it is still wanted."""


class Target(NamedTuple):
    """Where a blob goes: into the open descriptor `fd` at `offset`, or into the new file `path`."""

    path: str
    fd: int | None = None
    offset: int = 0

    @contextmanager
    def opened(self, reserved: int) -> Iterator[int]:
        """The descriptor, as long as this lasts; of a new file, for which so many bytes are reserved.

        Raises:
            RechunkError: there can be no such file.
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


class Job(NamedTuple):
    """A layer to be written.

    stream: its tar, fresh. target: None where it is only hashed. alone: it is so long that it had better not
    share a thread with another one.
    """

    stream: TarStream
    target: Target | None = None
    alone: bool = False


def write_layers(
    root: Root,
    jobs: Iterator[tuple[int, Job]],
    compression: Compression,
    threads: int = 1,
    ended: Event | None = None,
) -> Iterator[tuple[int, Written]]:
    """Writes layers, reading each file once: (number of the layer, what came of it), as they are done.

    Two at once where that is faster; so jobs, which have numbers, are taken as they are needed.

    Args:
        root: the root filesystem of the streams.
        threads: how many a compressor may use.
        ended: once it is set, nobody wants the layers any more.

    Raises:
        RootfsError: a file is unreadable, or is not what the scan saw.
        RechunkError: a blob cannot be written; nobody wants it.
    """
    going: list[_Going] = []
    more = True
    try:
        while True:
            while more and not (len(going) == 2 or any(one.job.alone for one in going)):
                numbered = next(jobs, None)
                more = numbered is not None
                if numbered is None:
                    continue
                number, job = numbered
                if has_sha256() and (job.target is None or compression.kind == "none"):
                    going.append(_Going(number, job))
                else:
                    yield number, write_layer(root, job.stream, job.target, compression, threads, ended)
            if not going:
                return
            _advance(root, going)
            for one in [one for one in going if one.job.stream.digest]:
                going.remove(one)
                yield one.number, one.written()
            _go_on(ended)
    finally:
        for one in going:
            one.close()


class _Going:
    """A layer that is being hashed and written."""

    __slots__ = ("_opened", "job", "number")

    def __init__(self, number: int, job: Job) -> None:
        self.number = number
        self.job = job
        with ExitStack() as stack:
            fd = stack.enter_context(job.target.opened(job.stream.size)) if job.target else -1
            job.stream.into(fd, job.target.offset if job.target else 0)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Closes its blob; doing it twice is harmless."""
        self._opened.close()

    def written(self) -> Written:
        """What came of it, once it is over."""
        self.close()
        digest = "sha256:" + (self.job.stream.digest or b"").hex()
        return Written(digest, digest, self.job.stream.size, self.job.stream.size)


def _advance(root: Root, going: Sequence[_Going]) -> None:
    """Comes some way further with one layer or two."""
    streams = [one.job.stream for one in going]
    try:
        streams[0].advance(streams[1] if len(streams) > 1 else None, _STRIDE)
    except (OSError, LookupError) as error:
        if isinstance(error, OSError) and error.filename is None:
            path = next(one.job.target.path for one in going if one.job.target and one.job.stream.broken)
            raise output_error(path, error) from error
        raise root.unread(error) from error


def _go_on(ended: Event | None) -> None:
    if ended is not None and ended.is_set():
        raise RechunkError("the layer is not wanted any more")


def write_layer(
    root: Root,
    stream: TarStream,
    target: Target | None,
    compression: Compression,
    threads: int = 1,
    ended: Event | None = None,
) -> Written:
    """As write_layers(), of one layer: the way that every processor and every compression can go."""
    with ExitStack() as stack:
        fd = -1
        if target is not None:
            reserved = stream.size if compression.kind == "none" else 0
            fd = stack.enter_context(target.opened(reserved))
        sink = _Sink(fd, target, compression, stream.size, threads)
        buffer = bytearray(_BUFFER)
        # as long as there is a view of it, the buffer keeps its size
        with memoryview(buffer) as view:
            for filled in _fillings(root, stream, buffer, sink.first):
                sink.write(view[:filled])
                _go_on(ended)
        written = sink.finish()
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

    def __init__(
        self, fd: int, target: Target | None, compression: Compression, size: int, threads: int
    ) -> None:
        self.fd = fd
        self.target = target
        self.written = self.taken = 0
        self.first = _BUFFER - (target.offset % _BUFFER if target else 0)
        self.raw = self.stored = hashlib.sha256()
        self.compressor = compression.compressor(size, threads) if target else None
        if self.compressor:
            self.stored = hashlib.sha256()

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
