"""Decompression of blobs as streams of bounded memory; inspection of their frames.

Sources: RFC 1952 (gzip members), RFC 8878 (zstd frames, blocks, skippable frames).
"""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, NamedTuple

import zstandard

from rechunk_podman.errors import ImageError

PLAIN, GZIP, ZSTD = "none", "gzip", "zstd"
CHUNK = 1 << 18

_MAGIC = {
    b"\x1f\x8b": GZIP,
    b"\x28\xb5\x2f\xfd": ZSTD,
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_ZSTD_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50


def detect(start: bytes) -> str:
    """Return the compression that the first 8 bytes of a blob identify, else PLAIN."""
    for magic, compression in _MAGIC.items():
        if start.startswith(magic):
            return compression
    if len(start) >= 4 and int.from_bytes(start[:4], "little") & ~0xF == _SKIPPABLE:
        return ZSTD
    return PLAIN


class GzipReader(io.RawIOBase):
    """The uncompressed bytes of all gzip members of `source`; `members` counts the members read so far.

    Raises:
        ImageError: (while reading) the data is broken, truncated, or followed by other data.
    """

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source, self._name = source, name
        self._inflate = zlib.decompressobj(31)
        self._input = b""
        self._ended = False
        self.members = 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ended:
            if self._inflate.eof:
                self._input = self._inflate.unused_data or self._source.read(CHUNK)
                # tar and gzip may pad with zeros, and every client accepts that.
                self._input = self._input.lstrip(b"\0")
                if not self._input and not self._more():
                    self._ended = True
                    break
                self._inflate = zlib.decompressobj(31)
                self.members += 1
            elif not self._input:
                self._input = self._source.read(CHUNK)
                if not self._input:
                    raise ImageError(f"{self._name} is cut off", context=["the gzip data ends too early"])
            try:
                data = self._inflate.decompress(self._input, len(buffer))
            except zlib.error as error:
                raise ImageError(f"{self._name} is not sound gzip data", context=[str(error)]) from error
            self._input = self._inflate.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _more(self) -> bytes:
        while chunk := self._source.read(CHUNK):
            self._input = chunk.lstrip(b"\0")
            if self._input:
                break
        return self._input


class ZstdReader(io.RawIOBase):
    """The uncompressed bytes of all zstd frames of `source`.

    The decompressor does not detect truncated data; zstd_frames() does.

    Raises:
        ImageError: (while reading) the data is broken.
    """

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._name = name
        self._reader = zstandard.ZstdDecompressor().stream_reader(
            source, read_size=CHUNK, read_across_frames=True, closefd=False
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except zstandard.ZstdError as error:
            raise ImageError(f"{self._name} is not sound zstd data", context=[str(error)]) from error
        buffer[: len(data)] = data
        return len(data)


class Frames(NamedTuple):
    """The numbers of zstd frames with data, and of skippable frames."""

    data: int
    skippable: int


def zstd_frames(file: BinaryIO, size: int, name: str) -> Frames:
    """Count the frames of a seekable zstd file of `size` bytes, from its block headers alone.

    Raises:
        ImageError: the file is cut off, or no zstd data.
    """
    walker = _Walker(file, size, name)
    data = skippable = 0
    while walker.at < size:
        magic = walker.number(4)
        if magic & ~0xF == _SKIPPABLE:
            walker.skip(walker.number(4))
            skippable += 1
        elif magic == _ZSTD_MAGIC:
            walker.frame()
            data += 1
        else:
            raise ImageError(f"{name} is not sound zstd data", context=[f"no frame at byte {walker.at - 4}"])
    return Frames(data, skippable)


class _Walker:
    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self.file, self.size, self.name, self.at = file, size, name, 0

    def number(self, length: int) -> int:
        self.file.seek(self.at)
        data = self.file.read(length)
        self.skip(length)
        return int.from_bytes(data, "little")

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > self.size:
            raise ImageError(f"{self.name} is cut off", context=["the zstd data ends too early"])

    def frame(self) -> None:
        """Skip a frame from behind its magic number to its end (RFC 8878, 3.1.1)."""
        descriptor = self.number(1)
        single = descriptor >> 5 & 1
        content_size = (single, 2, 4, 8)[descriptor >> 6]
        self.skip((1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size)
        last = 0
        while not last:
            block = self.number(3)
            last, kind, length = block & 1, block >> 1 & 3, block >> 3
            if kind == 3:
                raise ImageError(f"{self.name} is not sound zstd data", context=[f"block before {self.at}"])
            self.skip(1 if kind == 1 else length)
        if descriptor >> 2 & 1:
            self.skip(4)
