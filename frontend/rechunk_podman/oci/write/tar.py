"""Deterministic tar headers: POSIX ustar if an entry fits, else with pax extended headers.

Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; image-spec layer.md;
`SCHILY.xattr.` records as star, GNU tar, libarchive and Go's archive/tar write and read them.

A header is a function of the entry alone: no user names, no access times, constant names for the extended
headers. Raise `model.TAR_FORMAT` whenever the bytes of any entry change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from rechunk_podman.model import Entry, Kind
from rechunk_podman.native import ustar

BLOCK = 512
END = bytes(2 * BLOCK)

FILE, DIRECTORY = b"0", b"5"
_TYPES = {
    Kind.FILE: FILE,
    Kind.SYMLINK: b"2",
    Kind.CHAR: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: DIRECTORY,
    Kind.FIFO: b"6",
}
_HARD_LINK = b"1"
LARGE = 8**11  # the first number with more than eleven octal digits: 8 GiB, or a time in the year 2242
_MAX_ID = 8**7
NAME, _PREFIX = 100, 155
_ODD = bytes(byte if 0x20 < byte < 0x7F else ord("_") for byte in range(256))


def padded(size: int) -> int:
    """Return `size`, bytes of content, rounded up to whole blocks."""
    return (size + BLOCK - 1) & -BLOCK


def entry_type(entry: Entry, link: str | None = None) -> bytes:
    """Return the type flag of an entry, or of a hard link to it."""
    return _HARD_LINK if link is not None else _TYPES[entry.kind]


def entry_header(path: str, entry: Entry, mtime: int, link: str | None = None) -> bytes:
    """Return the header blocks of one entry, after its extended header if it needs one.

    Args:
        path: as model.py defines it; "" is the root, written as `./`.
        mtime: epoch seconds, may be negative.
        link: the path of the entry that this one is a hard link to; then it has no content.
    """
    type_flag = entry_type(entry, link)
    size, target = (entry.size, entry.target or "") if link is None else (0, link)
    major, minor = entry.rdev or (0, 0)
    return header(
        entry_name(path, type_flag),
        type_flag,
        entry.mode,
        entry.uid,
        entry.gid,
        size,
        mtime,
        os.fsencode(target),
        major,
        minor,
        entry.xattrs,
    )


def entry_name(path: str, type_flag: bytes) -> bytes:
    """Return the name of an entry in the archive."""
    name = path.encode("utf-8", "surrogateescape")
    if type_flag == DIRECTORY:
        return name + b"/" if name else b"./"
    return name


def file_header(name: str, size: int) -> bytes:
    """Return the header of a regular file that is not from a root filesystem: 0644, owner 0, mtime 0."""
    return header(name.encode(), FILE, 0o644, 0, 0, size, 0)


def directory_header(name: str) -> bytes:
    """Return the header of a directory that is not from a root filesystem: 0755, owner 0, mtime 0."""
    return header(name.encode() + b"/", DIRECTORY, 0o755, 0, 0, 0, 0)


def file_header_size(name_length: int, size: int) -> int:
    """Return the length of file_header() for a name of `name_length` ASCII characters."""
    return len(file_header("x" * name_length, size))


def header(
    name: bytes,
    type_flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes = b"",
    major: int = 0,
    minor: int = 0,
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """Return the header blocks of one entry, from raw values. `target`: of a symlink or hard link."""
    prefix = b""
    records: dict[bytes, bytes] = {}
    if len(name) > NAME or not name.isascii():
        short = _split(name)
        if short is None:
            records[b"path"] = name
            name = name[:NAME].translate(_ODD)
        else:
            prefix, name = short
    if target and (len(target) > NAME or not target.isascii()):
        records[b"linkpath"] = target
        target = target[:NAME].translate(_ODD)
    if size >= LARGE:
        records[b"size"] = b"%d" % size
        size = 0
    if not 0 <= mtime < LARGE:
        records[b"mtime"] = b"%d" % mtime
        mtime = 0
    if uid >= _MAX_ID:
        records[b"uid"] = b"%d" % uid
        uid = 0
    if gid >= _MAX_ID:
        records[b"gid"] = b"%d" % gid
        gid = 0
    for key, value in xattrs:
        records[b"SCHILY.xattr." + os.fsencode(key)] = value
    block = ustar(name, type_flag, mode, uid, gid, size, mtime, target, major, minor, prefix)
    return b"".join(_extended(records)) + block if records else block


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split `name` into ustar's prefix (as long as possible) and name; return None if it does not fit."""
    if not name.isascii():
        return None
    slash = name.rfind(b"/", 1, min(_PREFIX + 1, len(name) - 1))
    if slash < 1 or len(name) - slash - 1 > NAME:
        return None
    return name[:slash], name[slash + 1 :]


def _extended(records: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield a pax extended header of these records, sorted by name, with raw values."""
    body = b"".join(pax_record(key, records[key]) for key in sorted(records))
    yield ustar(b"././@PaxHeader", b"x", 0o644, 0, 0, len(body), 0, b"", 0, 0, b"")
    yield body.ljust(padded(len(body)), b"\0")


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE\\n`; LENGTH counts the whole record, its own digits included."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
