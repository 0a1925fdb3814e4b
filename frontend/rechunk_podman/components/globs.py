"""Globs in maps and groups: fnmatch(3) without flags, so that `*` matches any characters, slashes, too. Pure.

A glob is compared with the names that begin as it does. The names are sorted by their bytes, so that these
are one range.
"""

from __future__ import annotations

import fnmatch
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from rechunk_podman.pathtable import path_key
from rechunk_podman.patterns import compile_later

_CHUNK = 4096

MOST_COMPARISONS = 20_000_000
"""Comparisons of a name with a glob, for one map or all groups: some ten seconds."""

_WILDCARD = compile_later(r"[*?\[]")


class Glob:
    """A glob.

    prefix: the text before the first wildcard.
    is_plain: True if there is no wildcard.
    """

    __slots__ = ("_match", "_suffix", "_weight", "is_plain", "prefix")

    def __init__(self, text: str) -> None:
        first = _WILDCARD.search(text)
        self.is_plain = first is None
        self.prefix = text if first is None else text[: first.start()]
        # long globs take as long as some short ones
        self._weight = 1 + text.count("*") // 4
        self._suffix = "" if "[" in text else re.split(r"[*?]", text)[-1]
        # plain texts are many, and compiling one takes 0.1 ms; no expression of this module backtracks over
        # more than one `*`
        self._match = None if self.is_plain else re.compile(fnmatch.translate(text)).match

    def matches(self, name: str) -> bool:
        """Return True if the whole name matches."""
        if self._match is None:
            return name == self.prefix
        return name.endswith(self._suffix) and self._match(name) is not None

    def candidates(self, names: Sequence[str]) -> range:
        """Return the indexes of the names that begin as the glob does.

        Args:
            names: sorted by path_key().
        """
        if not self.prefix:
            return range(len(names))
        low = path_key(self.prefix)
        first = bisect_left(names, low, key=path_key)
        if self.is_plain:
            return range(first, first + (names[first : first + 1] == [self.prefix]))
        # after 0xff, which only names that are not UTF-8 have, a few names more are compared
        high = low[:-1] + bytes([low[-1] + 1]) if low[-1] < 0xFF else b"\xff" * 64
        return range(first, bisect_left(names, high, first, key=path_key))

    def cost(self, names: Sequence[str]) -> int:
        """Return the comparisons of find(), in those with a short glob."""
        return len(self.candidates(names)) * self._weight

    def find(self, names: Sequence[str]) -> Iterator[int]:
        """Yield the indexes of the names that match, in order; `names` as for candidates()."""
        candidates = self.candidates(names)
        if self.is_plain:
            yield from candidates
            return
        for start in range(candidates.start, candidates.stop, _CHUNK):
            some = names[start : min(start + _CHUNK, candidates.stop)]
            for index, name in enumerate(some, start):
                if self.matches(name):
                    yield index


class Comparisons:
    """The comparisons that are left to a map, or to groups."""

    __slots__ = ("_left", "most")

    def __init__(self) -> None:
        self.most = self._left = MOST_COMPARISONS

    def are_left(self, count: int) -> bool:
        """Count comparisons, and return True if they are not too many."""
        self._left -= count
        return self._left >= 0


def path_glob(text: str) -> Glob:
    """Return the glob of paths in a Tree for one that a user wrote: with or without a slash at its ends."""
    return Glob(text.strip("/"))
