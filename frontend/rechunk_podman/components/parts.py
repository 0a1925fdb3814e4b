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

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from hashlib import blake2b
from operator import or_
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import ROOT, Kind, PartKind, Positions, Tree
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

FAMILY_BITS, BITS = 12, 40
"""Halves are told apart by bits of a hash: the first of the name's family, the others of the name."""

_FAMILY = compile_later(r"[^A-Za-z]*[A-Za-z]*")
_PROGRAM = compile_later(rb"\.(?:so|ko|a|node|dll|exe)(?:\.[^/\0]*)?\0")
_BYTE_CODE = "__pycache__"

Ints = npt.NDArray[np.int64]
Members = list[int]


class Piece(NamedTuple):
    """The files of a part. name: a path, or `PATH #N`; `PATH (programs)` for what is beside other files."""

    name: str
    kind: PartKind
    positions: Positions


def cut(tree: Tree, own: Positions, sizes: Ints) -> tuple[Piece, ...]:
    """Return the parts of a component, sorted by name; none if it is smaller than CUT_FROM.

    Args:
        own: the positions of the component, in order, without the root.
        sizes: for each of them, the bytes of its tar entry.
    """
    if int(sizes.sum()) < CUT_FROM:
        return ()
    leaders = _leaders(tree, own)
    # a source never leaves its byte code, which is smaller
    alone = {
        int(leaders[index]): Members()
        for index in np.flatnonzero((sizes >= ALONE) & (tree.column("kind")[own] == Kind.FILE)).tolist()
        if not tree.paths[int(leaders[index])].endswith((".py", ".pyc"))
    }
    directories = tree.parent[leaders].astype(np.intp)
    caches = _caches(tree, directories)
    files: dict[int, dict[int, Members]] = {kind: defaultdict(list) for kind in PartKind}
    kinds = _kinds(tree, leaders)
    columns = (leaders, directories, kinds)
    for index, (leader, parent, kind) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        if leader in alone:
            alone[leader].append(index)
        else:
            files[kind][caches.get(parent, parent)].append(index)
    found = [
        (f"/{tree.paths[leader]}", PartKind(int(kinds[members[0]])), members)
        for leader, members in alone.items()
    ]
    for chosen in PartKind:
        some = files[chosen]
        mark = " (programs)" if chosen is PartKind.PROGRAMS else ""
        if some:
            parts = _Directories(tree, leaders, sizes.tolist(), some).parts()
            found += [(name + mark, chosen, members) for name, members in parts]
    return tuple(
        Piece(name, kind, own[np.sort(np.array(members, np.intp))]) for name, kind, members in sorted(found)
    )


def _leaders(tree: Tree, own: Positions) -> Positions:
    """Return the positions, hard links replaced by their leaders."""
    leaders: Positions = own.copy()
    if tree.leader:
        links = np.flatnonzero(np.isin(own, np.fromiter(tree.leader, np.intp, len(tree.leader))))
        leaders[links] = [tree.leader[position] for position in own[links].tolist()]
    return leaders


def _caches(tree: Tree, directories: Positions) -> dict[int, int]:
    """Return the directories of byte code, with their parents."""
    found = np.unique(directories)
    names = tree.paths_at(found)
    return {
        position: int(tree.parent[position])
        for position, name in zip(found.tolist(), names, strict=True)
        if name.rpartition("/")[2] == _BYTE_CODE
    }


def _kinds(tree: Tree, positions: Positions) -> npt.NDArray[np.uint8]:
    """Return the PartKind of each position, by mode and name."""
    text = tree.paths.joined(positions)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
    programs = (tree.column("mode")[positions] & 0o111) != 0
    matches = [match.end() - 1 for match in _PROGRAM.finditer(text)]
    programs[np.searchsorted(ends, np.array(matches, np.intp))] = True
    programs &= tree.column("kind")[positions] == Kind.FILE
    kinds = np.where(programs, PartKind.PROGRAMS, PartKind.DATA).astype(np.uint8)
    notes = tree.below(NOTES)
    kinds[(positions >= notes.start) & (positions < notes.stop)] = PartKind.NOTES
    return kinds


class _Directories:
    """The files of one kind, by directory.

    An index is one among the component's positions, a directory a position in the tree.

    Args:
        leaders: of each index.
        sizes: of each index.
        files: the indexes that are directly in each directory; indexes of other kinds are missing.
    """

    def __init__(
        self, tree: Tree, leaders: Positions, sizes: Sequence[int], files: Mapping[int, Members]
    ) -> None:
        self.tree = tree
        self.leaders = leaders
        self.sizes = sizes
        self.files = files
        self.totals: dict[int, int] = defaultdict(int)
        self.children: dict[int, list[int]] = defaultdict(list)
        for directory, members in files.items():
            total = sum(sizes[index] for index in members)
            while True:
                new = directory not in self.totals
                self.totals[directory] += total
                if directory == ROOT:
                    break
                parent = int(tree.parent[directory])
                if new:
                    self.children[parent].append(directory)
                directory = parent

    def parts(self) -> Iterator[tuple[str, Members]]:
        """Yield name and indexes of each part."""
        todo = [ROOT]
        while todo:
            directory = todo.pop()
            if self.totals[directory] <= MOST:
                yield self._name(directory), self._below(directory)
                continue
            children = self.children.get(directory, ())
            todo += [child for child in children if self.totals[child] >= LEAST]
            small = [child for child in children if self.totals[child] < LEAST]
            direct = self.files.get(directory, ())
            rest = sum(self.totals[child] for child in small) + sum(self.sizes[index] for index in direct)
            name = self._path(directory)
            if rest > MOST:
                for number, members in self._halves(direct, small):
                    yield f"{name} #{number}", members
            elif direct or small:
                yield name, [*direct, *(index for child in small for index in self._below(child))]

    def _path(self, directory: int) -> str:
        return "/" + (self.tree.paths[directory] if directory != ROOT else "")

    def _name(self, directory: int) -> str:
        """Return the path of the lowest directory that holds all files below this one."""
        while directory not in self.files and len(self.children[directory]) == 1:
            directory = self.children[directory][0]
        return self._path(directory)

    def _below(self, directory: int) -> Members:
        found: Members = []
        todo = [directory]
        while todo:
            directory = todo.pop()
            found += self.files.get(directory, ())
            todo += self.children.get(directory, ())
        return found

    def _halves(self, direct: Sequence[int], small: Sequence[int]) -> Iterator[tuple[int, Members]]:
        """Yield number and indexes of each part of files and subdirectories of one directory."""
        paths = self.tree.paths_at(self.leaders[list(direct)]) + self.tree.paths_at(np.array(small, np.intp))
        sizes = [*(self.sizes[index] for index in direct), *(self.totals[child] for child in small)]
        keys = [_key(path.rpartition("/")[2]) for path in paths]
        todo = [(1, list(range(len(paths))))]
        while todo:
            number, items = todo.pop()
            first = keys[items[0]]
            if sum([sizes[item] for item in items]) > MOST and any(keys[item] != first for item in items):
                # the first bit in which the keys differ
                bit = reduce(or_, [keys[item] ^ first for item in items]).bit_length() - 1
                halves: tuple[Members, Members] = ([], [])
                for item in items:
                    halves[keys[item] >> bit & 1].append(item)
                todo += [(2 * number + side, half) for side, half in enumerate(halves)]
                continue
            members: Members = []
            for item in items:
                if item < len(direct):
                    members.append(direct[item])
                else:
                    members += self._below(small[item - len(direct)])
            yield number, members


def _key(name: str) -> int:
    """Return BITS bits, of which the first are the same for names of one family."""
    family = _FAMILY.match(name)
    stem = name[:1] + name[1:].partition(".")[0]
    first = _family_hash("" if family is None else family[0]) >> (BITS - FAMILY_BITS)
    return first << (BITS - FAMILY_BITS) | _hash(stem) & (1 << BITS - FAMILY_BITS) - 1


@lru_cache(maxsize=1 << 12)
def _family_hash(family: str) -> int:
    return _hash(family)


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=BITS // 8).digest()
    return int.from_bytes(digest, "big")
