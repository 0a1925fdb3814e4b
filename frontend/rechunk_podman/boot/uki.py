"""The sections of a unified kernel image (UKI), or of another program of EFI with a command line.

Sources: UAPI.5, "Unified Kernel Image (UKI)" (names of sections); Microsoft's "PE Format" (headers,
section table); bootc's "composefs backend" (the argument composefs= of a sealed image).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from rechunk_podman.boot.initramfs import Initramfs, read_initramfs
from rechunk_podman.boot.streams import CHUNK, Read, Reader
from rechunk_podman.patterns import compile_later

UKI = compile_later(r"(?:boot|efi|(?:usr/)?lib/(?:modules|ostree-boot|efi))/.+\.efi\Z", re.IGNORECASE)
"""The paths of programs of EFI that may be a UKI, or an addon of one."""
DIRECTORIES = ("boot", "efi", "usr/lib/modules", "lib/modules", "usr/lib/ostree-boot", "usr/lib/efi")
"""The directories in which files that boot lie."""

_MAX_HEADERS = 64 << 10
_MAX_SECTIONS = 96
"""The loader of Windows takes no more, and no UKI has as many."""
_MAX_TEXT = 64 << 10
_SEAL = compile_later(r'(?:^|[\s"])(composefs=\S+)')


@dataclass(frozen=True, slots=True)
class Uki:
    """The sections of a UKI that checks need.

    cmdline: its command lines, those of all profiles, one a line.
    initramfs: the content of .initrd; None if there is none or it was not asked for.
    """

    cmdline: str
    initramfs: Initramfs | None = None

    @property
    def seal(self) -> str | None:
        """The argument that names the digest of the whole root filesystem; None without any."""
        found = _SEAL.search(self.cmdline)
        return None if found is None else found[1]


def read_uki(read: Read, *, with_initramfs: bool = False) -> Uki | None:
    """Read the sections of a program of EFI, in one pass; return None if it is none.

    Args:
        read: reads from the file, from its beginning.
        with_initramfs: read the members of the initramfs, too.
    """
    source = Reader.of_file(read)
    sections = _sections(source.peek(_MAX_HEADERS))
    if sections is None:
        return None
    lines, initramfs = [], None
    for start, size, name in sorted(sections):
        wanted = name == ".cmdline" or (name == ".initrd" and with_initramfs)
        if not wanted or start < source.at or not source.skip(start - source.at):
            continue
        if name == ".cmdline":
            lines.append(source.take(min(size, _MAX_TEXT)).rstrip(b"\0\n").decode("utf-8", "replace"))
        else:
            initramfs = read_initramfs(_limited(source, size))
    return Uki("\n".join(lines), initramfs)


def _limited(source: Reader, size: int) -> Read:
    end = source.at + size
    return lambda most: source.some(min(most, end - source.at, CHUNK))


def _sections(head: bytes) -> list[tuple[int, int, str]] | None:
    """Return offset, bytes and name of each section in the headers of a PE file; None if it is none."""
    if not head.startswith(b"MZ") or len(head) < 64:
        return None
    (at,) = struct.unpack_from("<I", head, 60)
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + 24:
        return None
    count, optional = struct.unpack_from("<2xH12xH", head, at + 4)
    table = at + 24 + optional
    found = []
    for number in range(min(count, _MAX_SECTIONS)):
        row = head[table + 40 * number : table + 40 * (number + 1)]
        if len(row) < 40:
            break
        virtual, _, size, start = struct.unpack_from("<4I", row, 8)
        # A section is padded in the file; its size in memory is that of its content.
        found.append((start, min(virtual, size), row[:8].rstrip(b"\0").decode("latin-1")))
    return found
