"""An estimate of the bytes that each entry takes in a compressed layer.

The tar is compressed twice, as a push does by default (zstd, level 3): as a whole, and with a block ended
after each entry. The second gives the share of each entry, the first the sum of all shares.
"""

from __future__ import annotations

import zstandard

from rechunk_podman.model import Kind
from rechunk_podman.oci.read.tar import Member

_LEVEL = 3
_BLOCK = 512
_TYPES = {Kind.FILE: b"0", Kind.DIRECTORY: b"5", Kind.SYMLINK: b"2"}


class PackedSizes:
    """The compressed bytes of the entries of one layer, in order."""

    def __init__(self) -> None:
        self._whole = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._cut = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._total = 0
        self._entry = 0
        self._sum = 0

    def add(self, data: bytes) -> None:
        """Add bytes of the present entry."""
        self._total += len(self._whole.compress(data))
        self._entry += len(self._cut.compress(data))

    def end_entry(self) -> int:
        """Return the bytes of the present entry, to be multiplied by scale()."""
        self._entry += len(self._cut.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        size, self._entry = self._entry, 0
        self._sum += size
        return size

    def scale(self) -> float:
        """Return the factor for all entries; call it once, after the last."""
        self._total += len(self._whole.flush())
        return self._total / self._sum if self._sum else 1.0


def header(member: Member) -> bytes:
    """Return a tar header that compresses like the one of this member."""
    name = member.path.encode("utf-8", "surrogateescape")
    target = (member.link or member.target or "").encode("utf-8", "surrogateescape")
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        member.mode,
        member.uid,
        member.gid,
        member.size,
        max(member.mtime, 0),
    )
    kind = b"1" if member.link is not None else _TYPES.get(member.kind, b"3")
    fields = name[:100].ljust(100, b"\0") + numbers + b"0%05o\0 " % (sum(name) & 0o77777)
    block = fields + kind + target[:100].ljust(100, b"\0") + b"ustar\00000"
    more = b"".join(
        b"%s=%s\n" % (key.encode("utf-8", "surrogateescape"), value) for key, value in member.xattrs
    )
    return block.ljust(_BLOCK, b"\0") + more
