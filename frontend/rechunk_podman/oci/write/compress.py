"""Compression of layer blobs: none, gzip, zstd; streamed, with the same bytes for any number of threads.

Sources: RFC 1952 (gzip), RFC 8878 (zstd), image-spec layer.md "+gzip Media Types" and "+zstd Media Types".
Another version of the compressor may compress to other bytes. zlib-ng, which makes gzip if installed, may
do so, too, for chunks of other sizes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import zstandard

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.spec import MEDIA_LAYER, MEDIA_LAYER_GZIP, MEDIA_LAYER_ZSTD

try:
    from zlib_ng import zlib_ng
except ImportError:
    zlib_ng = None  # type: ignore[assignment,unused-ignore]

_MEDIA = {"none": MEDIA_LAYER, "gzip": MEDIA_LAYER_GZIP, "zstd": MEDIA_LAYER_ZSTD}
_LEVELS = {"none": (0, 0, 0), "gzip": (0, 6, 9), "zstd": (1, 3, 22)}  # lowest, default, highest
# Magic, deflate, no flags, time 0, no extra flags, "unknown" system: constant bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ZSTD_JOB = 8 << 20


class Compressor(Protocol):
    """A compressor of one blob: takes its chunks in order and returns compressed chunks."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Compress a chunk; return the output so far, maybe b""."""

    def flush(self) -> bytes:
        """End the stream; return the rest of it."""


@dataclass(frozen=True, slots=True)
class Compression:
    """The compression of blobs. level: as the compressor counts; 0 for `none`."""

    kind: str = "none"
    level: int = 0

    @classmethod
    def parse(cls, kind: str, level: int | None = None) -> Compression:
        """Parse `none`, `gzip` or `zstd`, at a level or at the default of the compressor (6, 3).

        Raises:
            UsageError: another kind, or a level out of range.
        """
        if kind not in _LEVELS:
            raise UsageError(f"no such compression: {kind}", hint="choose none, gzip or zstd")
        lowest, usual, highest = _LEVELS[kind]
        if kind == "none":
            return cls(kind)
        if level is not None and not lowest <= level <= highest:
            raise UsageError(
                f"no such level of {kind}: {level}", hint=f"choose a level from {lowest} to {highest}"
            )
        return cls(kind, usual if level is None else level)

    def neighbour(self) -> Compression:
        """Return the same compression at another level, for other bytes; `none` stays the same."""
        _, _, highest = _LEVELS[self.kind]
        return replace(self, level=self.level + (1 if self.level < highest else -1) * (highest > 0))

    @property
    def media_type(self) -> str:
        """The media type of a layer with this compression."""
        return _MEDIA[self.kind]

    @property
    def program(self) -> tuple[str, str, int] | None:
        """Name, version and level of the compressor, which determine the bytes; None for `none`."""
        if self.kind == "gzip":
            if zlib_ng is not None:
                return "zlib-ng", str(zlib_ng.ZLIBNG_RUNTIME_VERSION), self.level
            return "zlib", zlib.ZLIB_RUNTIME_VERSION, self.level
        if self.kind == "zstd":
            return "zstd", ".".join(map(str, zstandard.ZSTD_VERSION)), self.level
        return None

    def compressor(self, size: int, threads: int = 1) -> Compressor | None:
        """Return a new compressor for one blob of exactly `size` bytes; None if nothing is compressed.

        Args:
            threads: the number that zstd may use; the output does not depend on it.
        """
        if self.kind == "gzip":
            return _Gzip(self.level)
        if self.kind == "zstd":
            return _zstd(self.level, size, max(threads, 1))
        return None


class _Gzip:
    def __init__(self, level: int) -> None:
        library = zlib if zlib_ng is None else zlib_ng
        self._deflate: Compressor = library.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 8)
        self._crc32: Callable[[bytes | memoryview, int], int] = library.crc32
        self._pending = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes | memoryview, /) -> bytes:
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        output = self._pending + self._deflate.compress(data)
        self._pending = b""
        return output

    def flush(self) -> bytes:
        end = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return self._pending + self._deflate.flush() + end


def _zstd(level: int, size: int, threads: int) -> Compressor:
    # threads=1 uses the multi-threaded path, unlike threads=0: its output depends on the size of jobs, not on
    # the number of threads.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        threads=threads,
        job_size=_ZSTD_JOB,
        write_checksum=True,
        write_content_size=True,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=size)
