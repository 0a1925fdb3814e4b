"""Small initramfs archives and programs of EFI, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping

DIRECTORY = 0o040755
FILE = 0o100644


def cpio_member(name: str, data: bytes = b"", *, mode: int = FILE, mtime: int = 7, ino: int = 1) -> bytes:
    """One member of an archive of the form "newc", padded."""
    numbers = (ino, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def cpio(files: Mapping[str, bytes], *, mtime: int = 7) -> bytes:
    """A whole archive with these files, and its trailer."""
    members = [cpio_member(name, data, mtime=mtime) for name, data in files.items()]
    return b"".join([*members, cpio_member("TRAILER!!!")])


def efi(sections: Mapping[str, bytes]) -> bytes:
    """A program of EFI that consists of sections alone."""
    at = 1024
    rows, bodies = b"", b""
    for name, data in sections.items():
        size = -(-len(data) // 512) * 512
        rows += name.encode().ljust(8, b"\0") + struct.pack("<4I16x", len(data), 0x1000, size, at)
        bodies += data.ljust(size, b"\0")
        at += size
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    head += b"PE\0\0" + struct.pack("<2H12x2H", 0x8664, len(sections), 0, 0) + rows
    return head.ljust(1024, b"\0") + bodies


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
