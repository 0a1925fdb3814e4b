"""Sorted paths in one buffer: no object for a path exists unless somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

from rechunk_podman.native import find_path, find_paths, path_starts, take_paths

Positions = npt.NDArray[np.intp]
"""Indexes into the columns of a Tree."""

NO_POSITIONS: Positions = np.empty(0, np.intp)

T = TypeVar("T")
_CHUNK = 1024


class PathTable(Sequence[str]):
    """Paths in byte order, each once: a sequence of str, made from the buffer where one is asked for.

    Loops over all paths take a few at a time. Functions of many paths (`find_joined()`, `at()`,
    `joined()`, `ending()`) make no objects and are much faster than a loop.

    text: the paths as bytes, a zero byte behind each.
    starts: the offset of each path, and the length of the text.

    Args:
        text: as the attribute; the paths have to be in byte order.
    """

    __slots__ = ("_last", "starts", "text")

    def __init__(self, text: bytes) -> None:
        self._last: npt.NDArray[np.uint8] | None = None
        self.text = text
        self.starts: npt.NDArray[np.int64] = np.frombuffer(path_starts(text), np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self)), dtype=np.intp))
        return self.raw(index).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            yield from _unpacked(self.text[self.starts[start] : self.starts[min(start + _CHUNK, len(self))]])

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.find_one(path) is not None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PathTable):
            return self.text == other.text
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def raw(self, position: int) -> bytes:
        """Return the bytes of the path at a position, which may be negative as in any sequence.

        Raises:
            IndexError: there is no such position.
        """
        count = len(self)
        if not -count <= position < count:
            raise IndexError(position)
        position %= count
        return self.text[self.starts[position] : self.starts[position + 1] - 1]

    def at(self, positions: Positions) -> list[str]:
        """Return the paths at these positions; "" at -1, the root."""
        return _unpacked(self.joined(positions))

    def joined(self, positions: Positions) -> bytes:
        """Return the bytes of the paths at these positions ("" at -1), a zero byte behind each.

        Raises:
            ValueError: there is no such position.
        """
        return take_paths(self.text, self.starts, np.ascontiguousarray(positions, np.int64))

    def find_joined(self, paths: bytes) -> Positions:
        """Return the position of each of `paths` (a zero byte behind each), -1 for one that is not here."""
        return np.frombuffer(find_paths(self.text, self.starts, paths), np.int64).astype(np.intp)

    def find_one(self, path: str) -> int | None:
        """Return the position of a path, or None."""
        try:
            wanted = path_key(path)
        except UnicodeEncodeError:
            return None  # no file has such a name
        position = find_path(self.text, self.starts, wanted)
        return position if position >= 0 else None

    def below(self, directory: str) -> range:
        """Return the positions of all paths below a directory ("" is the root)."""
        if not directory:
            return range(len(self))
        wanted = path_key(directory)
        # no path ends in a slash; the byte after a slash is 0
        first = find_path(self.text, self.starts, wanted + b"/")
        end = find_path(self.text, self.starts, wanted + b"0")
        return range(-1 - first, end if end >= 0 else -1 - end)

    def ending(self, suffix: bytes) -> Positions:
        """Return the positions of the paths that end in `suffix`, which is not empty, in order."""
        text = np.frombuffer(self.text, np.uint8)
        if self._last is None:
            self._last = text[self.starts[1:] - 2]
        # few paths end in the same byte; a path that is shorter than the suffix has a zero byte before it
        chosen = np.flatnonzero(self._last == suffix[-1])
        chosen = chosen[self.starts[chosen + 1] > len(suffix)]
        ends = self.starts[chosen + 1] - 1
        for back, byte in enumerate(reversed(suffix[:-1]), 2):
            same = text[ends - back] == byte
            chosen, ends = chosen[same], ends[same]
        return chosen


class PathPositions(Mapping[str, int]):
    """A mapping path -> position over a PathTable; a look-up is a binary search.

    Use `PathTable.find()` for many paths.
    """

    __slots__ = ("_paths",)

    def __init__(self, paths: PathTable) -> None:
        self._paths = paths

    def __getitem__(self, path: str) -> int:
        position = self._paths.find_one(path)
        if position is None:
            raise KeyError(path)
        return position

    @overload
    def get(self, path: str, /) -> int | None: ...
    @overload
    def get(self, path: str, /, default: int) -> int: ...
    @overload
    def get(self, path: str, /, default: T) -> int | T: ...
    def get(self, path: str, /, default: object = None) -> object:
        """Return the position of a path, or `default`."""
        position = self._paths.find_one(path)
        return default if position is None else position

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)


def path_key(path: str) -> bytes:
    """Return the bytes of a path, the sort key of paths everywhere."""
    return path.encode("utf-8", "surrogateescape")


def distinct(positions: Positions) -> Positions:
    """Return the different positions, sorted (numpy.unique() would load the module of masked arrays)."""
    ordered = np.sort(positions)
    different: Positions = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return different


def slices(positions: Positions, starts: Sequence[int]) -> list[Positions]:
    """Return the positions from each start to the next, and from the last to the end, without a copy."""
    return [positions[start:end] for start, end in pairwise([*starts, len(positions)])]


def _unpacked(text: bytes) -> list[str]:
    return text.decode("utf-8", "surrogateescape").split("\0")[:-1]
