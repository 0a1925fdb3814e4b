"""A sequential reader, and the decompression of streams that may be followed by other data.

Sources: RFC 1952 (gzip), RFC 8878 (zstd), the kernel's lib/decompress_unlz4.c and doc/lz4_Frame_format.md of
LZ4 ("Legacy frame"), doc/lz4_Block_format.md of LZ4 (sequences). All memory is bounded, whatever the data.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator

import zstandard

CHUNK = 1 << 16
"""Bytes that are read and decompressed at once."""
_ZSTD_CHUNK = 1 << 9
"""Bytes of zstd data that are fed at once: each 4 of them can become 128 KiB."""
_ZSTD_WINDOW = 1 << 27
"""The largest window of a zstd frame, in bytes; the kernel's decompressor takes no larger one."""
_XZ_MEMORY = 256 << 20
"""The most memory that the decompressor of xz may take, in bytes."""
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
_LZ4_BLOCK = 8 << 20
"""The largest content of a block of a legacy frame, in bytes."""

Read = Callable[[int], bytes]
"""A function that returns the next bytes, fewer than asked for only at the end."""


class FormatError(Exception):
    """The data is malformed, or of an unknown form; str() says how."""


class Reader:
    """The bytes of a function or an iterator, in order; some of them can be looked at in advance.

    at: the number of bytes that were taken.
    """

    __slots__ = ("_ahead", "_more", "at")

    def __init__(self, more: Callable[[], bytes]) -> None:
        """Take a function that returns the next bytes, b"" at the end."""
        self._more = more
        self._ahead = b""
        self.at = 0

    @classmethod
    def of_file(cls, read: Read) -> Reader:
        """Return a Reader of a file, by a function that reads from it."""
        return cls(lambda: read(CHUNK))

    @classmethod
    def of_chunks(cls, chunks: Iterator[bytes]) -> Reader:
        """Return a Reader of chunks, none of which is empty."""
        return cls(lambda: next(chunks, b""))

    def peek(self, size: int) -> bytes:
        """Return the next bytes without taking them, fewer than `size` only at the end."""
        if len(self._ahead) < size:
            parts = [self._ahead]
            length = len(self._ahead)
            while length < size and (chunk := self._more()):
                parts.append(chunk)
                length += len(chunk)
            self._ahead = b"".join(parts)
        return self._ahead[:size]

    def some(self, most: int) -> bytes:
        """Take and return up to `most` of the next bytes, at least one but at the end."""
        data = self._ahead or self._more()
        self._ahead = data[most:]
        data = data[:most]
        self.at += len(data)
        return data

    def take(self, size: int) -> bytes:
        """Take and return the next bytes, fewer than `size` only at the end."""
        data = self.peek(size)
        self._ahead = self._ahead[len(data) :]
        self.at += len(data)
        return data

    def skip(self, size: int) -> bool:
        """Take the next bytes; return False if there are fewer."""
        while size and (data := self.some(size)):
            size -= len(data)
        return not size

    def unread(self, data: bytes) -> None:
        """Give back bytes that were taken last."""
        self._ahead = data + self._ahead
        self.at -= len(data)


def decompressed(source: Reader) -> Iterator[bytes] | None:
    """Return the content of the compressed stream that comes next; None if no known one comes.

    The iterator raises FormatError if the data is broken, and leaves in the source what follows the stream.
    """
    start = source.peek(6)
    for magic, reading in _FORMATS.items():
        if start.startswith(magic):
            return reading(source)
    return None


def _gzip(source: Reader) -> Iterator[bytes]:
    inflate = zlib.decompressobj(31)
    while not inflate.eof:
        data = source.some(CHUNK)
        if not data:
            raise FormatError("the gzip data is cut off")
        while data and not inflate.eof:
            try:
                found = inflate.decompress(data, CHUNK)
            except zlib.error as error:
                raise FormatError(f"the gzip data is broken: {error}") from error
            data = inflate.unconsumed_tail
            if found:
                yield found
    source.unread(inflate.unused_data)


def _zstd(source: Reader) -> Iterator[bytes]:
    inflate = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    while not inflate.eof:
        data = source.some(_ZSTD_CHUNK)
        if not data:
            raise FormatError("the zstd data is cut off")
        try:
            found = inflate.decompress(data)
        except zstandard.ZstdError as error:
            raise FormatError(f"the zstd data is broken: {error}") from error
        if found:
            yield found
    source.unread(inflate.unused_data)


def _with(
    make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor], name: str
) -> Callable[[Reader], Iterator[bytes]]:
    def reading(source: Reader) -> Iterator[bytes]:
        inflate = make()
        while not inflate.eof:
            data = source.some(CHUNK) if inflate.needs_input else b""
            if not data and inflate.needs_input:
                raise FormatError(f"the {name} data is cut off")
            try:
                found = inflate.decompress(data, CHUNK)
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise FormatError(f"the {name} data is broken: {error}") from error
            if found:
                yield found
        source.unread(inflate.unused_data)

    return reading


def _lz4(source: Reader) -> Iterator[bytes]:
    """Yield the content of a legacy frame: its blocks, until no sound block follows."""
    source.skip(len(_LZ4_MAGIC))
    while len(head := source.peek(4)) == 4:
        size = int.from_bytes(head, "little")
        if head == _LZ4_MAGIC:
            source.skip(4)
            continue
        # What follows, an archive, padding or another stream, does not begin with the size of a block; the
        # magic and method of gzip alone could be one.
        if not 0 < size <= _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16 or head[:3] == b"\x1f\x8b\x08":
            return
        source.skip(4)
        block = source.take(size)
        if len(block) < size:
            raise FormatError("the lz4 data is cut off")
        yield from filter(None, [lz4_block(block)])


def lz4_block(block: bytes) -> bytes:
    """Return the content of a block of LZ4.

    Raises:
        FormatError: the block is malformed, or its content too large.
    """
    found = bytearray()
    at, end = 0, len(block)
    try:
        while at < end:
            token = block[at]
            at += 1
            length = token >> 4
            if length == 15:
                more = 255
                while more == 255:
                    more = block[at]
                    at += 1
                    length += more
            if at + length > end:
                raise FormatError("the lz4 data is broken")
            found += block[at : at + length]
            at += length
            if at == end:
                break
            offset = block[at] | block[at + 1] << 8
            at += 2
            length = (token & 15) + 4
            if length == 19:
                more = 255
                while more == 255:
                    more = block[at]
                    at += 1
                    length += more
            start = len(found) - offset
            if start < 0 or not offset or len(found) + length > _LZ4_BLOCK:
                raise FormatError("the lz4 data is broken")
            if offset >= length:
                found += found[start : start + length]
            else:
                piece = bytes(found[start:])
                found += (piece * (length // offset + 1))[:length]
    except IndexError as error:
        raise FormatError("the lz4 data is broken") from error
    return bytes(found)


_FORMATS: dict[bytes, Callable[[Reader], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\xfd7zXZ\x00": _with(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), "xz"),
    b"\x5d\x00\x00": _with(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY), "lzma"),
    b"BZh": _with(bz2.BZ2Decompressor, "bzip2"),
    _LZ4_MAGIC: _lz4,
}
"""First bytes of a stream -> the function that decompresses it."""
