"""The members of an initramfs: cpio archives, one after another, compressed or not.

Sources: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst (the form of the buffer, the
header of a member) and Documentation/arch/x86/microcode.rst (the uncompressed archive with early microcode).
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rechunk_podman.boot.streams import CHUNK, FormatError, Read, Reader, decompressed
from rechunk_podman.patterns import compile_later

INITRAMFS = compile_later(
    r"(?:(?:usr/)?lib/modules/[^/]+/|(?:usr/lib/ostree-)?boot/(?:.+/)?)(?:initramfs|initrd)[^/]*\Z"
)
"""The paths of initramfs archives."""

MAX_BYTES = 2 << 30
"""The most bytes of an initramfs that are read, after decompression."""
MAX_MEMBERS = 200_000
_MAX_NAME = 4096
"""PATH_MAX: the kernel takes no longer name."""
_MAX_TEXT = 64 << 10
"""Bytes of the largest member that is kept as a text."""
_MAX_TEXTS = 8 << 20
"""Bytes of all texts together."""
_MAX_SEGMENTS = 4096

_HEADER = 110
_MAGICS = (b"070701", b"070702")
_TRAILER = "TRAILER!!!"
_NUMBERS = compile_later(rb"[0-9A-Fa-f]{104}")
"""The numbers of a header; int() would take signs, spaces and underscores, too."""


class Member(NamedTuple):
    """A member of an initramfs.

    mode: with the bits of the kind. mtime: epoch seconds.
    ino, dev: the numbers of the inode and the device (major, minor) in the header.
    size: bytes. digest: the first 16 bytes of the SHA-256 of the content (of a symlink: its target).
    """

    mode: int
    uid: int
    gid: int
    mtime: int
    ino: int
    dev: tuple[int, int]
    size: int
    digest: bytes

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class Initramfs:
    """The members of an initramfs, as the kernel unpacks them: the last of a name wins.

    members: name, without a slash at its beginning -> Member.
    texts: name -> content, of small files without zero bytes.
    fault: the reason why the rest was not read; None if all was.
    """

    members: Mapping[str, Member]
    texts: Mapping[str, bytes]
    fault: str | None = None


def read_initramfs(read: Read) -> Initramfs:
    """Read an initramfs by a function that reads from it; a fault ends the reading, but is no error."""
    reading = _Reading()
    fault = None
    try:
        reading.buffer(Reader.of_file(read), compressed=False)
    except FormatError as error:
        fault = str(error)
    return Initramfs(reading.members, reading.texts, fault)


class _Reading:
    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.texts: dict[str, bytes] = {}
        self.room = _MAX_TEXTS
        self.left = MAX_BYTES
        self.count = 0

    def buffer(self, source: Reader, *, compressed: bool) -> None:
        """Read archives, padding and, unless it is itself the content of one, compressed streams."""
        for _ in range(_MAX_SEGMENTS):
            _skip_zeros(source)
            start = source.peek(6)
            if not start:
                return
            if start in _MAGICS:
                self.archive(source)
                continue
            stream = None if compressed else decompressed(source)
            if stream is None:
                raise FormatError(f"neither an archive nor a known compression at byte {source.at}")
            content = Reader.of_chunks(self.bounded(stream))
            self.buffer(content, compressed=True)
            while content.some(CHUNK):
                pass
        raise FormatError("it consists of too many archives")

    def bounded(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in stream:
            self.left -= len(chunk)
            if self.left < 0:
                raise FormatError(f"it holds more than {MAX_BYTES} bytes")
            yield chunk

    def archive(self, source: Reader) -> None:
        """Read members up to the trailer, or to the end."""
        start = source.at
        while source.peek(6) in _MAGICS:
            self.count += 1
            if self.count > MAX_MEMBERS:
                raise FormatError(f"it has more than {MAX_MEMBERS} members")
            name, numbers = _header(source)
            _align(source, start)
            if name == _TRAILER:
                return
            self.member(source, name, numbers)
            _align(source, start)
            if source.peek(6) and source.peek(6) not in _MAGICS and source.peek(1) != b"\0":
                raise FormatError(f"no header of a member at byte {source.at}")

    def member(self, source: Reader, name: str, numbers: list[int]) -> None:
        ino, mode, uid, gid, _, mtime, size, major, minor, *_ = numbers
        digest = hashlib.sha256()
        keep = stat.S_ISREG(mode) and 0 < size <= min(_MAX_TEXT, self.room)
        parts = []
        left = size
        while left:
            data = source.some(min(left, CHUNK))
            if not data:
                raise FormatError("the archive is cut off")
            digest.update(data)
            left -= len(data)
            if keep:
                parts.append(data)
        name = name.lstrip("/").removeprefix("./")
        text = b"".join(parts)
        self.texts.pop(name, None)
        if text and b"\0" not in text:
            self.room -= size
            self.texts[name] = text
        key = digest.digest()[:16]
        self.members[name] = Member(mode, uid, gid, mtime, ino, (major, minor), size, key)


def _header(source: Reader) -> tuple[str, list[int]]:
    """Return the name and the 12 numbers behind the magic of a member's header."""
    at = source.at
    head = source.take(_HEADER)
    if not _NUMBERS.match(head, 6):
        raise FormatError(f"no header of a member at byte {at}")
    numbers = [int(head[start : start + 8], 16) for start in range(6, _HEADER - 8, 8)]
    length = int(head[_HEADER - 16 : _HEADER - 8], 16)
    if not 0 < length <= _MAX_NAME:
        raise FormatError(f"no header of a member at byte {at}")
    name = source.take(length)
    if len(name) < length:
        raise FormatError("the archive is cut off")
    return name.rstrip(b"\0").decode("utf-8", "surrogateescape"), numbers


def _align(source: Reader, start: int) -> None:
    source.skip(-(source.at - start) % 4)


def _skip_zeros(source: Reader) -> None:
    while source.peek(1) == b"\0":
        data = source.some(CHUNK)
        rest = data.lstrip(b"\0")
        source.unread(rest)


def differing_members(old: Initramfs, new: Initramfs) -> Mapping[str, str]:
    """Return the name of each member that differs -> the difference, for people; in the order of names."""
    found = {}
    for name in sorted(old.members.keys() | new.members.keys()):
        one, two = old.members.get(name), new.members.get(name)
        if one is None or two is None:
            found[name] = "added" if one is None else "removed"
        elif one != two:
            found[name] = ", ".join(what for what, of in _PROPERTIES.items() if of(one) != of(two))
    return found


_PROPERTIES: Mapping[str, Callable[[Member], object]] = {
    "content": lambda member: (member.size, member.digest),
    "mode": lambda member: member.mode,
    "owner": lambda member: (member.uid, member.gid),
    "mtime": lambda member: member.mtime,
    "inode": lambda member: (member.ino, member.dev),
}
"""The properties of members that are compared."""
