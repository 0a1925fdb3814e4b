"""The members of a layer's tar, strictly: nothing is skipped, nothing ends quietly where it is broken.

Sources: image-spec layer.md; POSIX pax interchange format; the SCHILY.xattr records that Go's archive/tar,
hence every client, takes for extended attributes (it ignores libarchive's copies, and so does this).
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import IO, BinaryIO, NamedTuple, cast

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind

CHUNK = 1 << 20
XATTR_RECORD = "SCHILY.xattr."
_MAX_HEADER = 8 << 20
_MAX_SPARSE = 1 << 40
_META = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.CHRTYPE: Kind.CHAR,
    tarfile.BLKTYPE: Kind.BLOCK,
}


class StrictTarInfo(tarfile.TarInfo):
    """A TarInfo for which a broken header is an error at any place, and a huge one is not read at all."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictTarInfo:
        """Do as TarInfo does, with a limit on what is read into memory."""
        info = super().frombuf(buf, encoding, errors)
        if info.type in _META and info.size > _MAX_HEADER:
            raise ImageError(f"a tar header claims {info.size} bytes", hint="no client would read it")
        return info

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> StrictTarInfo:
        """Do as TarInfo does, which otherwise takes a broken header for the end of the archive."""
        try:
            return super().fromtarfile(tarfile)
        except (_INVALID, _TRUNCATED) as error:
            raise ImageError("a tar header is broken", context=[str(error)]) from error


_INVALID = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_TRUNCATED = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]


class Member(NamedTuple):
    """One tar entry. path: as Tree's, "" for the root. link: target of a hard link, as a path.

    size, mtime, xattrs as in Entry; `name` is the name as it stands in the tar, for messages.
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
    """Turn errors that tarfile raises on broken input into ImageErrors with its name."""
    try:
        yield
    except ImageError as error:
        if name in error.message:
            raise
        raise ImageError(f"{name}: {error.message}", context=error.context, hint=error.hint) from error
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ImageError(f"{name} is not a sound tar archive", context=[str(error)]) from error


class Content:
    """The content of a regular file; its errors name the layer."""

    __slots__ = ("_file", "_hash", "_name")

    def __init__(self, file: IO[bytes] | None, name: str) -> None:
        self._file, self._name = file, name
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` only at the end.

        Raises:
            ImageError: the tar is cut off.
        """
        if self._file is None:
            return b""
        with tar_errors(self._name):
            data = self._file.read(size)
        self._hash.update(data)
        return data

    def sha256(self) -> bytes:
        """Return the digest of the whole content; read the rest of it.

        Raises:
            ImageError: the tar is cut off.
        """
        while self.read(CHUNK):
            pass
        return self._hash.digest()


class _Forward:
    """A file for tarfile that can seek, but only ahead: tarfile's own streams copy far too much.

    It goes on with zeros to the end of its block: umoci leaves the last padding out.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self.end: int | None = None

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        if len(data) < size:
            if self.end is None:
                self.end = self._at
            padding = bytes(min(size - len(data), -self._at % tarfile.BLOCKSIZE))
            self._at += len(padding)
            data += padding
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise tarfile.ReadError("its members are not in order")
        while self._at < position and self.read(min(CHUNK, position - self._at)):
            pass
        return self._at

    def check(self, needed: int) -> None:
        """Raise ReadError if the stream ended before its byte `needed`."""
        if self.end is not None and self.end < needed:
            raise tarfile.ReadError("unexpected end of data")


def members(stream: BinaryIO, name: str) -> Iterator[tuple[Member, Content | None]]:
    """Yield each member with a reader of its content, usable until the next one; None for other kinds.

    Args:
        stream: the uncompressed layer; it is read to its end.
        name: of the layer, for messages.

    Raises:
        ImageError: the tar is broken or cut off; a name is absolute, holds `..` or a NUL; a type is unknown.
    """
    forward = _Forward(stream)
    with tar_errors(name):
        try:
            archive = tarfile.open(  # noqa: SIM115 (it does not own the stream)
                fileobj=cast("IO[bytes]", forward),
                mode="r:",
                tarinfo=StrictTarInfo,
                encoding="utf-8",
                errors="surrogateescape",
            )
        except tarfile.ReadError as error:
            # A layer of no bytes at all is an empty archive to Go.
            if str(error) == "empty file":
                return
            raise
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            member = _member(info)
            content = None
            if member.kind is Kind.FILE and member.link is None:
                content = Content(archive.extractfile(info), name)
            yield member, content
            if forward.end is not None and not info.issparse():
                forward.check(info.offset_data + member.size)
        while stream.read(CHUNK):
            pass


def _member(info: tarfile.TarInfo) -> Member:
    link = target = rdev = None
    kind = _KINDS.get(info.type)
    if info.type == tarfile.LNKTYPE:
        link, kind = clean_path(info.linkname.lstrip("/"), info.name), Kind.FILE
        if not link:
            raise ImageError(f"{info.name!r} is a hard link to nothing")
    elif kind is None:
        raise ImageError(f"{info.name!r} is of the unknown tar type {info.type!r}")
    elif kind is Kind.SYMLINK:
        target = info.linkname
    elif kind in (Kind.CHAR, Kind.BLOCK):
        rdev = (info.devmajor, info.devminor)
    if info.issparse() and info.size > _MAX_SPARSE:
        raise ImageError(f"{info.name!r} is a sparse file of {info.size} bytes")
    headers = info.pax_headers
    for key in ("uid", "gid", "size"):
        if key in headers and not headers[key].isdecimal():
            raise ImageError(f"{info.name!r} has the {key} {headers[key]!r}")
    xattrs = tuple(
        sorted(
            (key.removeprefix(XATTR_RECORD), value.encode("utf-8", "surrogateescape"))
            for key, value in headers.items()
            # A pax record without a value deletes it, and so no client sets an empty attribute.
            if key.startswith(XATTR_RECORD) and value
        )
    )
    return Member(
        clean_path(info.name, info.name),
        info.name,
        kind,
        info.mode & 0o7777,
        info.uid,
        info.gid,
        info.size if kind is Kind.FILE and link is None else 0,
        _mtime(info, headers),
        target,
        rdev,
        xattrs,
        link,
    )


def _mtime(info: tarfile.TarInfo, headers: Mapping[str, str]) -> int:
    if "mtime" not in headers:
        return int(info.mtime)
    try:
        # Not by float, which rounds 1700000000.999999999 up.
        value = Decimal(headers["mtime"])
        return int(value // 1) - (value < 0 and value % 1 != 0)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise ImageError(f"{info.name!r} has the mtime {headers['mtime']!r}") from error


def clean_path(name: str, shown: str) -> str:
    """Return a tar name as a Tree's path.

    Raises:
        ImageError: it is absolute, or has `..` or a NUL in it.
    """
    if name.startswith("/") or "\0" in name:
        raise ImageError(f"the path {shown!r} is absolute or holds a NUL", hint="no layer should hold it")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageError(f"the path {shown!r} leaves the root filesystem", hint="do not use this image")
    return "/".join(parts)
