"""An estimate of the bytes that each entry takes in a compressed layer of its own component.

The tar is compressed twice, as a push does by default (zstd, level 3): in blocks of BLOCK bytes, and with a
block ended after each entry. The first gives the bytes of each block, the second the shares of the entries in
it. Translations of one program (`apt.mo` in the directories of all languages) lie apart in most layers and
together in one of their component: such a file is also compressed after those of the same name before it, and
the smaller size is taken. A push compresses several megabytes at once. Then zstd ends blocks where the data
changes, and large programs become up to 6 % smaller. So a large file is also compressed alone, in pieces.
"""

from __future__ import annotations

import zstandard

from rechunk_podman.model import Kind
from rechunk_podman.oci.read.tar import Member

BLOCK = 1 << 17
"""The most bytes that zstd compresses as one block (RFC 8878, section 3.1.1.2.4)."""

_LEVEL = 3
_HEADER = 512
_TYPES = {Kind.FILE: b"0", Kind.DIRECTORY: b"5", Kind.SYMLINK: b"2"}
_TRANSLATION = ".mo"
_LARGEST_TRANSLATION = 1 << 20
_LARGE = 4 * BLOCK
_PIECE = 8 << 20
"""Bytes of the smallest file that is also compressed alone, and of its pieces."""

_MOST_OF_ONE, _MOST_TRANSLATIONS = 512 << 10, 64 << 20
"""Bytes of translations that are kept in memory: of one name, and in all."""


class PackedSizes:
    """The compressed bytes of the entries of one layer, in order."""

    def __init__(self) -> None:
        self._whole = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._cut = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._sizes: list[float] = []
        self._densities: list[float] = []
        self._most: dict[int, int] = {}
        # of the present block: its compressed bytes, the bytes that may follow, the bytes of each entry
        self._block = 0
        self._room = BLOCK
        self._shares: dict[int, int] = {}
        self._complete: list[tuple[int, dict[int, int]]] = []
        # of the present entry
        self._bytes = self._packed = 0
        self._name = ""
        self._is_translation = False
        self._alone = 0
        self._content: bytearray | None = None
        self._translations: dict[str, bytes] = {}
        self._held = 0

    def begin_entry(self, member: Member) -> None:
        """Begin an entry with its header."""
        self._name = member.path.rpartition("/")[2]
        self._is_translation = self._name.endswith(_TRANSLATION) and member.size <= _LARGEST_TRANSLATION
        self._content = bytearray() if self._is_translation or member.size >= _LARGE else None
        self._alone = 0
        self._bytes = self._packed = 0
        self.add(header(member))

    def add(self, data: bytes) -> None:
        """Add bytes of the present entry."""
        self._bytes += len(data)
        self._packed += len(self._cut.compress(data))
        if self._content is not None:
            self._content += data
            if len(self._content) >= _PIECE:
                self._end_piece(self._content)
        index = len(self._sizes)
        rest = memoryview(data)
        while rest:
            part, rest = rest[: self._room], rest[self._room :]
            self._block += len(self._whole.compress(part))
            self._shares[index] = self._shares.get(index, 0) + len(part)
            self._room -= len(part)
            if not self._room:
                self._end_block()

    def end_entry(self) -> None:
        """End the present entry."""
        self._packed += len(self._cut.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        if self._is_translation and self._content is not None:
            self._add_translation(bytes(self._content))
        elif self._content is not None:
            self._end_piece(self._content)
            self._most[len(self._sizes)] = self._alone
        self._sizes.append(0.0)
        self._densities.append(self._packed / max(self._bytes, 1))
        self._share_blocks()

    def finish(self) -> list[int]:
        """Return the bytes of all entries; call it once, after the last."""
        self._end_block()
        self._share_blocks()
        return [round(min(size, self._most.get(index, size))) for index, size in enumerate(self._sizes)]

    def _end_piece(self, content: bytearray) -> None:
        self._alone += len(zstandard.ZstdCompressor(level=_LEVEL).compress(content))
        content.clear()

    def _add_translation(self, content: bytes) -> None:
        before = self._translations.pop(self._name, b"")
        if before:
            known = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            packed = zstandard.ZstdCompressor(level=_LEVEL, dict_data=known).compress(content)
            self._most[len(self._sizes)] = len(packed)
        last = (before + content)[-_MOST_OF_ONE:]
        self._translations[self._name] = last
        self._held += len(last) - len(before)
        while self._held > _MOST_TRANSLATIONS:
            self._held -= len(self._translations.pop(next(iter(self._translations))))

    def _end_block(self) -> None:
        self._block += len(self._whole.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        self._complete.append((self._block, self._shares))
        self._block, self._room, self._shares = 0, BLOCK, {}

    def _share_blocks(self) -> None:
        """Divide the complete blocks among their entries, which have all ended."""
        for packed, shares in self._complete:
            weights = {index: count * self._densities[index] for index, count in shares.items()}
            total = sum(weights.values())
            for index, weight in weights.items():
                self._sizes[index] += packed * weight / total
        self._complete.clear()


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
    return block.ljust(_HEADER, b"\0") + more
