"""Files that hold the record of their package: jars, and programs as Go makes them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

TEXT = "path\texample.com/saw/cmd/saw\nmod\texample.com/saw\tv1.2.3\th1:x=\ndep\texample.com/dep\tv0.1.0\n"
SENTINEL = b"\x30" * 16
SIZE = 300 << 10


def program(
    text: str = TEXT,
    *,
    pointers: bool = False,
    section: bool = True,
    order: str = "<",
    wide: bool = True,
    size: int = SIZE,
) -> bytes:
    """Return an ELF file with a data segment at 4096 (address 0x400000), and perhaps sections.

    Args:
        pointers: True for the form before Go 1.18.
    """
    base, at = 0x400000, 4096
    info = SENTINEL + text.encode() + SENTINEL if text else b""
    pointer = "Q" if wide else "I"
    data = bytearray(size - at)
    flags = (0 if pointers else 2) | (order == ">")
    data[:16] = b"\xff Go buildinf:" + bytes([struct.calcsize(f"{order}{pointer}"), flags])
    if pointers:
        struct.pack_into(f"{order}2{pointer}", data, 16, base + 64, base + 96)
        struct.pack_into(f"{order}2{pointer}", data, 96, base + 256, len(info))
        data[256 : 256 + len(info)] = info
    else:
        length = bytes([len(info) & 0x7F | 0x80, len(info) >> 7])
        tail = b"\x06go1.22" + length + info
        data[32 : 32 + len(tail)] = tail
    names = b"\0.go.buildinfo\0.shstrtab\0"
    sections = [(1, at, 512), (15, 1024, len(names))] if section else []
    if wide:
        segment = struct.pack(f"{order}IIQQQQQQ", 1, 6, at, base, base, len(data), len(data), 4096)
        table = b"".join(struct.pack(f"{order}II16xQQ24x", name, 1, o, s) for name, o, s in sections)
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 512, 0, 64, 56, 1, 64, len(sections), 1)
    else:
        segment = struct.pack(f"{order}IIIIIIII", 1, at, base, base, len(data), len(data), 6, 4096)
        table = b"".join(struct.pack(f"{order}II8xII16x", name, 1, o, s) for name, o, s in sections)
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 2, 3, 1, 0, 64, 512, 0, 52, 32, 1, 40, len(sections), 1)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    front = bytearray(at)
    front[: len(ident + head)] = ident + head
    front[64 : 64 + len(segment)] = segment
    front[512 : 512 + len(table)] = table
    front[1024 : 1024 + len(names)] = names
    return bytes(front) + bytes(data)


def jar(files: Mapping[str, str], comment: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as target:
        for name, content in files.items():
            target.writestr(name, content)
        target.comment = comment
    return data.getvalue()
