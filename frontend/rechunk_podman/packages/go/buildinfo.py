"""The build information in a program that Go made. It reads through a function, a few pieces of bounded size.

Sources: Go's documentation of debug/buildinfo and runtime/debug (BuildInfo, the text format); the ELF
specification (System V ABI, chapters 4 and 5). The information begins with a magic text, the size of a
pointer and flags. Since Go 1.18 two texts follow, each after its length as a varint; before, two pointers to
headers of Go strings.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from rechunk_podman.patterns import compile_later

_MAGIC = b"\xff Go buildinf:"
_SECTION = b".go.buildinfo\0"
_INLINE, _BIG_ENDIAN = 2, 1
_ALIGNMENT = 16
HEADER_SIZE = 64
_MOST_HEADERS = 64 << 10
_FIRST_DATA = 64 << 10
"""Bytes at the start of the data in which the information stands if no section names it."""
_MOST_INFO = 1 << 20
_SENTINEL = 16
"""Bytes before and after the text about modules."""
_PLAIN = compile_later(r"[!-~]{1,200}\Z")

ReadAt = Callable[[int, int], bytes]
"""(length, offset) -> bytes of the file, fewer at its end."""


class Module(NamedTuple):
    """The main module of a program."""

    path: str
    version: str


class _Elf(NamedTuple):
    """The addresses in a program.

    order: of bytes, as struct writes it. wide: True for 64 bits.
    segments: (offset, address, bytes in the file, is writable) of what is loaded.
    info: offset of the build information, or -1.
    """

    order: str
    wide: bool
    segments: list[tuple[int, int, int, bool]]
    info: int


def is_elf(data: bytes) -> bool:
    """Return True if a file begins with a header of ELF."""
    return len(data) == HEADER_SIZE and data[:4] == b"\x7fELF" and data[4] in (1, 2) and data[5] in (1, 2)


def module(header: bytes, read_at: ReadAt) -> Module | None:
    """Return the main module of a program that Go made; None for other programs, or without modules.

    Args:
        header: the first HEADER_SIZE bytes of the file.
    """
    if not is_elf(header):
        return None
    try:
        elf = _parsed(header, read_at)
        text = _text(elf, read_at)
    except struct.error:
        return None
    return parse(text)


def parse(text: bytes) -> Module | None:
    """Return the main module that the text about modules names: a line `mod`, TAB, path, TAB, version.

    A program that was built without modules has the path of its main package alone (`path`, TAB, path).
    """
    match = re.search(rb"^mod\t([^\t\n]+)\t([^\t\n]*)", text, re.MULTILINE)
    match = match or re.search(rb"^path\t([^\t\n]+)()$", text, re.MULTILINE)
    if match is None or (match[0].startswith(b"path\t") and not _has_host(match[1])):
        return None
    path, version = match[1].decode("latin-1"), match[2].decode("latin-1")
    if not _PLAIN.match(path):
        return None
    return Module(path, version if _PLAIN.match(version) and version != "(devel)" else "")


def _has_host(path: bytes) -> bool:
    """Return True for the path of a package that is fetched: HOST.DOMAIN/PATH."""
    return 0 < path.find(b".", 1) < path.rfind(b"/", 0, -1) - 1


def _parsed(header: bytes, read_at: ReadAt) -> _Elf:
    """Read the tables of an ELF file; raise struct.error if they are truncated."""
    order, wide = "<>"[header[5] - 1], header[4] == 2
    if wide:
        segments_at, sections_at = struct.unpack_from(f"{order}QQ", header, 32)
        entry, count, section, sections, names = struct.unpack_from(f"{order}5H", header, 54)
    else:
        segments_at, sections_at = struct.unpack_from(f"{order}II", header, 28)
        entry, count, section, sections, names = struct.unpack_from(f"{order}5H", header, 42)
    table = _read(read_at, entry * count, segments_at)
    segments = []
    for at in range(0, len(table) - entry + 1, entry) if entry else ():
        kind, flags, offset, address, size = _segment(table, at, order, wide)
        if kind == 1:
            segments.append((offset, address, size, bool(flags & 2)))
    info = _section(read_at, order, wide, (sections_at, section, sections, names))
    return _Elf(order, wide, segments, info)


def _segment(table: bytes, at: int, order: str, wide: bool) -> tuple[int, int, int, int, int]:
    """Return (type, flags, offset, address, size in the file) of a program header."""
    if wide:
        kind, flags, offset, address, _, size = struct.unpack_from(f"{order}IIQQQQ", table, at)
    else:
        kind, offset, address, _, size, _, flags = struct.unpack_from(f"{order}7I", table, at)
    return kind, flags, offset, address, size


def _section(read_at: ReadAt, order: str, wide: bool, place: tuple[int, int, int, int]) -> int:
    """Return the offset of the section .go.buildinfo, or -1."""
    start, entry, count, names = place
    table = _read(read_at, entry * count, start)
    if not entry or names >= len(table) // entry:
        return -1
    form, fields = (f"{order}II16xQQ", 40) if wide else (f"{order}II8xII", 24)
    if entry < fields:
        return -1
    _, _, at, size = struct.unpack_from(form, table, names * entry)
    texts = _read(read_at, size, at)
    for number in range(len(table) // entry):
        name, _, offset, _ = struct.unpack_from(form, table, number * entry)
        if texts[name : name + len(_SECTION)] == _SECTION:
            return int(offset)
    return -1


def _read(read_at: ReadAt, length: int, offset: int) -> bytes:
    """Return at most _MOST_HEADERS bytes; none if the offset is absurd."""
    return read_at(min(length, _MOST_HEADERS), offset) if offset < 1 << 62 else b""


def _text(elf: _Elf, read_at: ReadAt) -> bytes:
    """Return the text about modules; b"" if there is none. Raise struct.error if it is truncated."""
    start = elf.info
    if start < 0:
        start = next((offset for offset, _, _, writable in elf.segments if writable), -1)
        if start < 0:
            return b""
    data = _read(read_at, _FIRST_DATA, start)
    at = data.find(_MAGIC)
    while at % _ALIGNMENT and at >= 0:
        at = data.find(_MAGIC, at + 1)
    if at < 0:
        return b""
    size, flags = data[at + 14], data[at + 15]
    if flags & _INLINE:
        begin = start + at + 32
        length, used = _varint(_read(read_at, 10, begin))
        begin += used + length
        length, used = _varint(_read(read_at, 10, begin))
        text = read_at(min(length, _MOST_INFO), begin + used) if begin < 1 << 62 else b""
    else:
        order = "<>"[flags & _BIG_ENDIAN]
        (pointer,) = struct.unpack_from(f"{order}{'Q' if size == 8 else 'I'}", data, at + 16 + size)
        text = _string(elf, read_at, pointer, size, order)
    if len(text) >= 2 * _SENTINEL + 1 and text[-_SENTINEL - 1] == 0x0A:
        return text[_SENTINEL:-_SENTINEL]
    return b""


def _varint(data: bytes) -> tuple[int, int]:
    """Return an unsigned number of seven bits a byte, and the bytes that it takes."""
    value = 0
    for used, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * used)
        if byte < 0x80:
            return value, used + 1
    raise struct.error("a varint without an end")


def _string(elf: _Elf, read_at: ReadAt, pointer: int, size: int, order: str) -> bytes:
    """Return the Go string to which a pointer leads: a header of address and length."""
    form = f"{order}{'QQ' if size == 8 else 'II'}"
    address, length = struct.unpack(form, _load(elf, read_at, pointer, 2 * size))
    return _load(elf, read_at, address, min(length, _MOST_INFO))


def _load(elf: _Elf, read_at: ReadAt, address: int, length: int) -> bytes:
    """Return bytes at an address of the running program; none if nothing is there."""
    for offset, start, size, _ in elf.segments:
        if start <= address < start + size and offset < 1 << 62:
            return read_at(min(length, start + size - address), offset + address - start)
    return b""
