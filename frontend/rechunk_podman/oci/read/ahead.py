"""A stream that is read ahead, whose next bytes can be looked at in a buffer."""

from __future__ import annotations

import os
from typing import BinaryIO


class ReadAhead:
    """The bytes of a stream, one after the other.

    buffer, view: hold bytes that were read ahead, from `at` to `end`.
    position: the number of bytes that were taken or skipped.

    Args:
        stream: nobody else may read it: it is ahead of `position`.
        room: bytes that are read at once.
    """

    __slots__ = ("_is_seekable", "_stream", "at", "buffer", "end", "position", "view")

    def __init__(self, stream: BinaryIO, room: int) -> None:
        self._stream = stream
        self._is_seekable = stream.seekable()
        self.buffer = bytearray(room)
        self.view = memoryview(self.buffer)
        self.at = self.end = self.position = 0

    def refill(self) -> bool:
        """Read behind the bytes in the buffer, which move to its start; return False at the end."""
        kept = self.end - self.at
        self.view[:kept] = bytes(self.view[self.at : self.end])
        count = self._stream.readinto(self.view[kept:]) or 0  # type: ignore[attr-defined]
        self.at, self.end = 0, kept + count
        return bool(count)

    def take(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` only at the end of the stream."""
        data = self._take_buffered(size)
        while len(data) < size:
            missing = size - len(data)
            if missing >= len(self.buffer):
                more = self._stream.read(missing)
            else:
                self.refill()
                more = self._take_buffered(missing)
            if not more:
                break
            data = data + more if data else more
        self.position += len(data)
        return data

    def _take_buffered(self, size: int) -> bytes:
        data = bytes(self.view[self.at : min(self.at + size, self.end)])
        self.at += len(data)
        return data

    def forward(self, at: int) -> None:
        """Skip the bytes in the buffer before an offset in it."""
        self.position += at - self.at
        self.at = at

    def skip(self, size: int) -> int:
        """Skip the next bytes; return how many of them the stream lacks (0 for one that can seek)."""
        while True:
            here = min(size, self.end - self.at)
            self.forward(self.at + here)
            size -= here
            if size and self._is_seekable:
                self._stream.seek(size, os.SEEK_CUR)
                self.position += size
                return 0
            if not size or not self.refill():
                return size

    def drain(self) -> None:
        """Read the stream to its end."""
        self.at = self.end
        while self.refill():
            self.at = self.end
