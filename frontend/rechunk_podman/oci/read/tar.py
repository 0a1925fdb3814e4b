"""The members of a layer's tar, as clients unpack them. Members that no client unpacks are errors.

Sources: image-spec layer.md; the SCHILY.xattr records that Go's archive/tar, hence every client, reads as
extended attributes (it ignores libarchive's copies, and so does this module).
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, Protocol

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read import header as tar
from rechunk_podman.oci.read.header import CHUNK, Entries, Header

XATTR_RECORD = "SCHILY.xattr."
_XATTR = XATTR_RECORD.encode()
_MAX_HOLES = 16 << 30
"""The most bytes of holes in the sparse files of a layer: a small header claims them, clients write zeros."""
_MAX_TARGET = 4095
"""The longest path that Linux accepts, in bytes (PATH_MAX without the final NUL)."""
_MAX_PATH = _MAX_TARGET - 127
"""Clients unpack below /var/lib/containers/storage/overlay/DIGEST/diff or the like."""
_MAX_NAME = 255
_MAX_ID = (1 << 32) - 2
"""The largest user id: chown(2) does not change the owner for the next one."""
_KINDS = {
    tar.FILE: Kind.FILE,
    tar.LINK: Kind.FILE,
    tar.DIRECTORY: Kind.DIRECTORY,
    tar.SYMLINK: Kind.SYMLINK,
    tar.FIFO: Kind.FIFO,
    tar.CHAR: Kind.CHAR,
    tar.BLOCK_DEVICE: Kind.BLOCK,
}


class Member(NamedTuple):
    """One tar entry. size, mtime and xattrs are as in Entry.

    path: as in a Tree, "" for the root.
    link: the target of a hard link, as a path.
    name: the name in the tar, for messages.
    """

    path: str
    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: str | None
    rdev: tuple[int, int] | None
    xattrs: tuple[tuple[str, bytes], ...]
    link: str | None


@contextmanager
def tar_errors(name: str) -> Iterator[None]:
    """Prefix the messages of ImageErrors with the name of the tar."""
    try:
        yield
    except ImageError as error:
        if name in error.message:
            raise
        raise ImageError(f"{name}: {error.message}", context=error.context, hint=error.hint) from error


class Content(Protocol):
    """The content of a regular file, usable until the next member is read."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, fewer than `size` only at the end.

        Raises:
            ImageError: the tar is cut off.
        """

    def sha256(self) -> bytes:
        """Read the rest of the content; return the digest of the whole.

        Raises:
            ImageError: the tar is cut off.
        """


class _InBuffer:
    """The content of a small file, which is in a buffer."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        data = bytes(self._data[self._at : self._at + size])
        self._at += len(data)
        return data

    def sha256(self) -> bytes:
        return hashlib.sha256(self._data).digest()


class _InStream:
    """The content of any file; its errors name the layer."""

    __slots__ = ("_entries", "_hash", "_holes", "_name", "_pieces")

    def __init__(self, entries: Entries, header: Header, name: str) -> None:
        self._entries, self._name = entries, name
        self._hash = hashlib.sha256()
        self._pieces: Iterator[tuple[int, int]] | None = None
        self._holes = (0, 0)
        if header.sparse is not None:
            self._pieces = _runs(header)

    def read(self, size: int) -> bytes:
        with tar_errors(self._name):
            data = self._entries.read(size) if self._pieces is None else self._read_sparse(size)
        self._hash.update(data)
        return data

    def _read_sparse(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            hole, piece = self._holes
            if not hole and not piece:
                following = next(self._pieces, None) if self._pieces is not None else None
                if following is None:
                    break
                self._holes = following
                continue
            room = min(size - len(found), hole or piece)
            if hole:
                found += bytes(room)
                self._holes = (hole - room, piece)
            else:
                found += self._entries.read(room)
                self._holes = (0, piece - room)
        return found

    def sha256(self) -> bytes:
        while self.read(CHUNK):
            pass
        return self._hash.digest()


def _runs(header: Header) -> Iterator[tuple[int, int]]:
    """Yield (length of a hole, length of the piece after it); the last hole may have no piece after it."""
    at = 0
    for offset, length in header.sparse or ():
        yield offset - at, length
        at = offset + length
    yield header.size - at, 0


def members(
    stream: BinaryIO, name: str, on_global: Callable[[str], object] | None = None
) -> Iterator[tuple[Member, Content | None]]:
    """Yield each member with a reader of its content, usable until the next one; None for other kinds.

    Args:
        stream: the uncompressed layer; it is read to its end.
        name: of the layer, for messages.
        on_global: called with the path of each global pax header. Clients ignore its records, but not its
            name: they make its parent directories, and treat it as a whiteout if it has the name of one.

    Raises:
        ImageError: the tar is broken or truncated, or no client can unpack a member.
    """
    entries = Entries(stream)
    names: set[str] = set()
    holes = 0
    with tar_errors(name):
        while True:
            for fields, data in entries.plain():
                member = tuple.__new__(Member, fields)
                is_file = member.kind is Kind.FILE and member.link is None
                yield member, _InBuffer(data) if is_file else None
            header = entries.next()
            if header is None:
                break
            if header.kind == tar.GLOBAL:
                path = clean_path(decoded(header.name), decoded(header.name))
                if path in names:
                    raise ImageError(f"two global pax headers are named {_shown(path)}")
                names.add(path)
                if on_global is not None:
                    on_global(path)
                continue
            member = _member(header)
            if header.sparse is not None:
                holes += header.size - header.stored
                if holes > _MAX_HOLES:
                    raise ImageError(
                        f"sparse files, {_shown(member.name)} the last of them, claim {holes} bytes of holes",
                        hint="clients would write them all, as zeros",
                    )
            content: Content | None = None
            if member.kind is Kind.FILE and member.link is None:
                content = _InStream(entries, header, name)
            yield member, content
        entries.drain()


def decoded(data: bytes) -> str:
    """Return a name in a tar as text, in the form of paths in a Tree."""
    return data.decode("utf-8", "surrogateescape")


def _member(header: Header) -> Member:
    name = decoded(header.name)
    kind = _KINDS.get(header.kind)
    link = target = rdev = None
    if kind is None:
        raise ImageError(
            f"{_shown(name)} is of the tar type {header.kind!r}", hint="no client unpacks such an entry"
        )
    if header.kind == tar.LINK:
        link = clean_path(decoded(header.link), name)
        if not link:
            raise ImageError(f"{_shown(name)} is a hard link to nothing")
    elif kind is Kind.SYMLINK:
        target = decoded(header.link)
        if not target or len(header.link) > _MAX_TARGET:
            raise ImageError(f"{_shown(name)} is a symlink to nothing, or to a path that is too long")
    elif kind in (Kind.CHAR, Kind.BLOCK):
        rdev = header.device
        if not all(0 <= number <= _MAX_ID for number in rdev):
            raise ImageError(f"{_shown(name)} is a device with the numbers {rdev}")
    for key, number in (("uid", header.uid), ("gid", header.gid)):
        if not 0 <= number <= _MAX_ID:
            raise ImageError(f"{_shown(name)} has the {key} {number}")
    return Member(
        clean_path(name, name),
        name,
        kind,
        header.mode & 0o7777,
        header.uid,
        header.gid,
        header.size if kind is Kind.FILE and link is None else 0,
        header.mtime,
        target,
        rdev,
        _xattrs(header) if header.records else (),
        link,
    )


def _xattrs(header: Header) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes; a record without a value sets none, as in every client."""
    return tuple(
        sorted(
            (decoded(key.removeprefix(_XATTR)), value)
            for key, value in header.records.items()
            if key.startswith(_XATTR) and value
        )
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "…")


def clean_path(name: str, shown: str) -> str:
    """Return a tar name as a Tree's path: without a leading slash, with `.` and `..` resolved as text.

    `..` at the root is the root, as in every client.

    Raises:
        ImageError: the path is too long for Linux.
    """
    if "/../" in f"/{name}/":
        name = posixpath.normpath(f"/{name}")
    if len(name) > _MAX_NAME // 4:  # characters, of up to four bytes
        _check_length(name, shown)
    if name.startswith("/") or "//" in name or "." in name:
        return "/".join([part for part in name.split("/") if part not in ("", ".")])
    return name.rstrip("/")


def _check_length(name: str, shown: str) -> None:
    if len(name) <= _MAX_PATH:
        raw = name.encode("utf-8", "surrogateescape")
        if len(raw) <= _MAX_PATH and all(len(part) <= _MAX_NAME for part in raw.split(b"/")):
            return
    raise ImageError(f"the path {_shown(shown)} is too long for Linux", hint="no client can unpack it")
