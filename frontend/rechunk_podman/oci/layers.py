"""Members -> a layer blob: one pass over their content, hashed while it is written.

Source: image-spec layer.md.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from rechunk_podman.errors import RechunkError, RootfsError
from rechunk_podman.oci.compress import Compression
from rechunk_podman.oci.members import PackedLayer
from rechunk_podman.oci.reserve import reserve
from rechunk_podman.oci.spec import Descriptor, DiffId, Digest, Layer
from rechunk_podman.oci.tar import END, entry_name, header
from rechunk_podman.rootfs.root import Root

_BUFFER = 1 << 20
_ZEROS = bytes(512)


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
    layer: PackedLayer,
    target: Target | None,
    compression: Compression,
    threads: int = 1,
    lent: int | None = None,
) -> Written:
    """Writes one layer, reading each file once; without a target it is only hashed.

    Args:
        threads: how many a compressor may use.
        lent: the target's descriptor, as it is called in this process.

    Raises:
        RootfsError: a file is unreadable, or is not what the scan saw.
        RechunkError: the blob cannot be written.
    """
    if target is not None and lent is not None:
        target = target._replace(fd=lent)
    sink = _Sink(target, compression, layer.size, threads)
    try:
        _stream(root, layer, sink)
        written = sink.finish()
    finally:
        sink.close()
    if written.uncompressed != layer.size:
        raise RechunkError(f"a layer came to {written.uncompressed} bytes, {layer.size} were announced")
    return written


def _stream(root: Root, layer: PackedLayer, sink: _Sink) -> None:
    traits = layer.traits
    buffer = memoryview(bytearray(_BUFFER))
    used = 0
    for path, index, size, mtime, seen, link in layer.rows():
        type_flag, mode, uid, gid, major, minor, xattrs = traits[index]
        name, target = entry_name(path, type_flag), link.encode("utf-8", "surrogateescape")
        head = header(name, type_flag, mode, uid, gid, size, mtime, target, major, minor, xattrs)
        end = used + len(head)
        if end > _BUFFER:
            sink.write(buffer[:used])
            used, end = 0, len(head)
            if end > _BUFFER:  # xattrs of a megabyte: no file system allows them
                raise RootfsError(f"{root.show(path)} has too many extended attributes")
        buffer[used:end] = head
        used = end
        if not size:
            continue
        fd, before = root.open_stat(path)
        try:
            left = size
            if before.st_size != size or before[stat.ST_MTIME] != seen:
                raise _changed(root, path)
            while left:
                if used == _BUFFER:
                    sink.write(buffer)
                    used = 0
                count = os.readv(fd, [buffer[used : used + left]])
                if not count:
                    raise _changed(root, path)
                used += count
                left -= count
            after = os.fstat(fd)
            if after.st_size != size or after.st_mtime_ns != before.st_mtime_ns:
                raise _changed(root, path)
        except OSError as error:
            raise root.error(path, error) from error
        finally:
            os.close(fd)
        rest = -size % 512
        if used + rest > _BUFFER:
            sink.write(buffer[:used])
            used = 0
        buffer[used : used + rest] = _ZEROS[:rest]
        used += rest
    sink.write(buffer[:used])
    sink.write(memoryview(END))


def _changed(root: Root, path: str) -> RootfsError:
    return RootfsError(
        f"{root.show(path)} changed while it was read",
        hint="nothing may change the root filesystem while it is read: run the command again",
    )


class _Sink:
    """Hashes, compresses and writes one blob."""

    def __init__(self, target: Target | None, compression: Compression, size: int, threads: int) -> None:
        self.target = target
        self.written = self.taken = 0
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
