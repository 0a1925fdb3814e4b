"""Parts: the pieces of a large component, which may change apart from each other.

The rule reads nothing but the component's own files, so an unchanged component has unchanged parts:

* Files of ALONE bytes and more are parts of their own.
* The rest is cut by directory: a directory of more than MOST bytes gives each subdirectory of at least LEAST
  bytes away, and so on; what stays is a part, if necessary divided by the names of its files and small
  subdirectories, in two halves by a hash again and again. Names that begin alike stay together.
* Files of each PartKind are cut apart from the others: a new build changes all programs, but little else.

Each decision is about one directory or one half. So if a size crosses a threshold, then one part is divided,
and something in it has changed anyway; or two become one again, which costs at most MOST bytes once.
Hard links are where their leader is, byte code is where its source is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import ROOT, Kind, PartKind, Positions, Tree
from rechunk_podman.pathtable import NO_POSITIONS, distinct, slices
from rechunk_podman.patterns import compile_later

CUT_FROM = 2 << 20
"""Bytes of the smallest component that has parts."""

ALONE = 1 << 20
"""Bytes of the smallest file that is a part of its own."""

MOST = 1 << 20
"""Bytes of a directory, or of a half, that is not divided any more."""

LEAST = 256 << 10
"""Bytes of the smallest subdirectory that a divided directory gives away."""

NOTES = "usr/share/doc"

BITS = 40
FAMILY_BITS, STEM_BITS, NAME_BITS = 12, 28, 24
"""Halves are told apart by bits of hashes: of the name's family, then of the name up to its first dot, then
of the whole name."""

_FAMILY = compile_later(r"[^A-Za-z]*[A-Za-z]*")
_PROGRAM = compile_later(rb"\.(?:so|ko|a|node|dll|exe)(?:\.[^/\0]*)?\0")
_BYTE_CODE = "__pycache__"
_PATHS_AT_ONCE = 1 << 14
"""Paths whose names are in memory together."""

Ints = npt.NDArray[np.int64]


class Piece(NamedTuple):
    """The files of a part.

    name: a path, or `PATH #N`; `PATH (programs)` for what is beside other files.
    size: bytes of their tar entries.
    """

    name: str
    kind: PartKind
    positions: Positions
    size: int


def cut(tree: Tree, own: Positions, sizes: Ints) -> tuple[Piece, ...]:
    """Return the parts of a component, sorted by name; none if it is smaller than CUT_FROM.

    Args:
        own: the positions of the component, in order, without the root.
        sizes: for each of them, the bytes of its tar entry.
    """
    if int(sizes.sum()) < CUT_FROM:
        return ()
    leaders = _leaders(tree, own)
    kinds = _kinds(tree, leaders)
    found: list[tuple[str, PartKind, Positions]] = []
    # a source never leaves its byte code, which is smaller
    large = [
        leader
        for leader in leaders[(sizes >= ALONE) & (tree.column("kind")[own] == Kind.FILE)].tolist()
        if not tree.paths[leader].endswith((".py", ".pyc"))
    ]
    rest = np.arange(len(own))
    if large:
        alone = distinct(np.array(large, np.intp))
        is_alone = alone[np.minimum(np.searchsorted(alone, leaders), len(alone) - 1)] == leaders
        rest = np.flatnonzero(~is_alone)
        members = np.flatnonzero(is_alone)
        members = members[np.argsort(leaders[members], kind="stable")]
        for some in slices(members, np.searchsorted(leaders[members], alone).tolist()):
            name = f"/{tree.paths[int(leaders[some[0]])]}"
            found.append((name, PartKind(int(kinds[some[0]])), some))
    directories = _directories(tree, leaders)
    for kind in PartKind:
        some = rest[kinds[rest] == kind]
        mark = " (programs)" if kind is PartKind.PROGRAMS else ""
        if len(some):
            parts = _Directories(tree, leaders, sizes, directories, some).parts()
            found += [(name + mark, kind, members) for name, members in parts]
    found.sort(key=lambda part: part[:2])
    return tuple(
        Piece(name, kind, own[np.sort(members)], int(sizes[members].sum()))
        for name, (_, kind, members) in zip(_unique([name for name, _, _ in found]), found, strict=True)
    )


def _unique(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, longer where one is taken: paths may look like the names of parts."""
    taken: set[str] = set()
    for name in names:
        while name in taken:
            name += "'"
        taken.add(name)
        yield name


def _leaders(tree: Tree, own: Positions) -> Positions:
    """Return the positions, hard links replaced by their leaders."""
    leaders: Positions = own.copy()
    if tree.leader:
        links = np.flatnonzero(np.isin(own, np.fromiter(tree.leader, np.intp, len(tree.leader))))
        leaders[links] = [tree.leader[position] for position in own[links].tolist()]
    return leaders


def _directories(tree: Tree, positions: Positions) -> Positions:
    """Return the directory of each position; of byte code, that of its source."""
    directories = tree.parent[positions].astype(np.intp)
    every = distinct(directories)
    caches = [name.rpartition("/")[2] == _BYTE_CODE for name in tree.paths_at(every)]
    found: Positions = np.where(caches, tree.parent[every], every)[np.searchsorted(every, directories)]
    return found


def _kinds(tree: Tree, positions: Positions) -> npt.NDArray[np.uint8]:
    """Return the PartKind of each position, by mode and name."""
    programs = (tree.column("mode")[positions] & 0o111) != 0
    for start in range(0, len(positions), _PATHS_AT_ONCE):
        text = tree.paths.joined(positions[start : start + _PATHS_AT_ONCE])
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
        matches = [match.end() - 1 for match in _PROGRAM.finditer(text)]
        programs[start + np.searchsorted(ends, np.array(matches, np.intp))] = True
    programs &= tree.column("kind")[positions] == Kind.FILE
    kinds = np.where(programs, PartKind.PROGRAMS, PartKind.DATA).astype(np.uint8)
    notes = tree.below(NOTES)
    kinds[(positions >= notes.start) & (positions < notes.stop)] = PartKind.NOTES
    return kinds


class _Directories:
    """The files of one kind, by directory.

    An index is one among the component's positions, a directory a position in the tree.

    Args:
        leaders, sizes, directories: of each index.
        some: the indexes of this kind.
    """

    def __init__(
        self, tree: Tree, leaders: Positions, sizes: Ints, directories: Positions, some: Positions
    ) -> None:
        self.tree = tree
        self.leaders = leaders
        self.sizes = sizes
        some = some[np.argsort(directories[some], kind="stable")]
        within = directories[some]
        starts = np.flatnonzero(np.diff(within, prepend=ROOT - 1))
        holding = within[starts].tolist()
        self.files: dict[int, Positions] = dict(zip(holding, slices(some, starts.tolist()), strict=True))
        """The indexes that are directly in each directory."""
        totals = np.add.reduceat(sizes[some], starts).tolist()
        self.totals: dict[int, int] = dict(zip(holding, totals, strict=True))
        """The bytes in and below each directory."""
        self.children: dict[int, list[int]] = {}
        above = tree.ancestors(np.array([directory for directory in holding if directory != ROOT], np.intp))
        # a directory comes before everything below it
        for directory in sorted({*holding, *above.tolist()} - {ROOT}, reverse=True):
            parent = int(tree.parent[directory])
            self.totals[parent] = self.totals.get(parent, 0) + self.totals[directory]
            self.children.setdefault(parent, []).append(directory)

    def parts(self) -> Iterator[tuple[str, Positions]]:
        """Yield name and indexes of each part."""
        todo = [ROOT]
        while todo:
            directory = todo.pop()
            if self.totals[directory] <= MOST:
                yield self._name(directory), np.concatenate(self._below(directory))
                continue
            children = self.children.get(directory, ())
            todo += [child for child in children if self.totals[child] >= LEAST]
            small = [child for child in children if self.totals[child] < LEAST]
            direct = self.files.get(directory, NO_POSITIONS)
            rest = sum([self.totals[child] for child in small]) + int(self.sizes[direct].sum())
            name = self._path(directory)
            if rest > MOST:
                for number, members in self._halves(direct, small):
                    yield f"{name} #{number}", members
            elif len(direct) or small:
                below = [files for child in small for files in self._below(child)]
                yield name, np.concatenate([direct, *below])

    def _path(self, directory: int) -> str:
        return "/" + (self.tree.paths[directory] if directory != ROOT else "")

    def _name(self, directory: int) -> str:
        """Return the path of the lowest directory that holds all files below this one."""
        while directory not in self.files and len(self.children[directory]) == 1:
            directory = self.children[directory][0]
        return self._path(directory)

    def _below(self, directory: int) -> list[Positions]:
        """Return the indexes of all files below a directory, one array for each directory that has some."""
        found = []
        todo = [directory]
        while todo:
            directory = todo.pop()
            if directory in self.files:
                found.append(self.files[directory])
            todo += self.children.get(directory, ())
        return found

    def _halves(self, direct: Positions, small: Sequence[int]) -> Iterator[tuple[str, Positions]]:
        """Yield number and indexes of each part of files and subdirectories of one directory."""
        paths = self.tree.paths_at(self.leaders[direct]) + self.tree.paths_at(np.array(small, np.intp))
        sizes = [*self.sizes[direct].tolist(), *(self.totals[child] for child in small)]
        names = [path.rpartition("/")[2] for path in paths]
        for number, some in _divided(names, sizes):
            items = np.array(some, np.intp)
            below = [
                files
                for item in items[items >= len(direct)].tolist()
                for files in self._below(small[item - len(direct)])
            ]
            yield number, np.concatenate([direct[items[items < len(direct)]], *below])


def _divided(names: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield number and indexes of each part of files with these names and sizes.

    A number tells the bits that the keys have in common, so it does not depend on what else is there.
    """
    todo: list[tuple[str, Sequence[int], int]] = [("", range(len(names)), 0)]
    while todo:
        before, some, level = todo.pop()
        bits, key = _KEYS[level]
        keys = {item: key(names[item]) for item in some}
        for number, members in _halved(some, keys, bits, sizes):
            if level + 1 < len(_KEYS) and len(members) > 1 and sum([sizes[item] for item in members]) > MOST:
                todo.append((f"{before}{number}-", members, level + 1))
            else:
                yield f"{before}{number}", members


def _halved(
    items: Sequence[int], keys: Mapping[int, int], bits: int, sizes: Sequence[int]
) -> Iterator[tuple[int, list[int]]]:
    """Yield number and items of each part, divided by bits of the keys as often as the size asks for it."""
    order = sorted(items, key=keys.__getitem__)
    sorted_keys = [keys[item] for item in order]
    # the bytes of all items before one
    before = [0, *accumulate([sizes[item] for item in order])]
    todo = [(1, 0, len(order), bits)]
    while todo:
        number, start, end, bits = todo.pop()
        if bits and before[end] - before[start] > MOST:
            bits -= 1
            # the first key of the upper half
            border = (sorted_keys[start] >> bits | 1) << bits
            middle = bisect_left(sorted_keys, border, start, end)
            halves = ((2 * number, start, middle, bits), (2 * number + 1, middle, end, bits))
            todo += [half for half in halves if half[1] < half[2]]
        else:
            yield number, order[start:end]


def _family_key(name: str) -> int:
    match = _FAMILY.match(name)
    return _family_hash(match[0] if match else "")


@lru_cache(maxsize=1 << 12)
def _family_hash(family: str) -> int:
    return _hash(family) >> (BITS - FAMILY_BITS)


def _stem_key(name: str) -> int:
    return _hash(_stem(name)) & (1 << STEM_BITS) - 1


def _name_key(name: str) -> int:
    # byte code stays with its source
    return _hash(_stem(name) if name.endswith((".py", ".pyc")) else name) >> (BITS - NAME_BITS)


def _stem(name: str) -> str:
    return name[:1] + name[1:].partition(".")[0]


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=BITS // 8).digest()
    return int.from_bytes(digest, "big")


_KEYS: tuple[tuple[int, Callable[[str], int]], ...] = (
    (FAMILY_BITS, _family_key),
    (STEM_BITS, _stem_key),
    (NAME_BITS, _name_key),
)
"""Bits of each key of a name, and its function; each is for names that those before left together."""
