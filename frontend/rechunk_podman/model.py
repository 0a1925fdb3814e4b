"""The values that stages pass to each other: Entry, Tree, Component, Plan.

Paths are relative to the root filesystem: no leading slash, components joined by one `/`, the root
itself is the empty string; bytes that are not UTF-8 travel as surrogates (`surrogateescape`).
A *position* is the index of a path in its Tree and in every column of the Tree. The root's position is ROOT.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Kind(IntEnum):
    """The kind of an Entry. There is no kind for sockets: no image can hold one."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    FIFO = 3
    CHAR = 4
    BLOCK = 5


KIND_NAMES = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "symlink",
    Kind.FIFO: "FIFO",
    Kind.CHAR: "character device",
    Kind.BLOCK: "block device",
}
"""The names of kinds in messages."""


class Entry(NamedTuple):
    """One path of a root filesystem, as lstat(2) and listxattr(2) show it.

    mode: permission bits alone (07777).
    size: bytes, of a regular file (0 otherwise).
    mtime: epoch seconds, floored.
    nlink: unreliable (overlay and vfs count differently); hard links are found by (dev, ino).
    target: the unresolved target of a symlink.
    rdev: the numbers (major, minor) of a device.
    xattrs: sorted by name, values raw.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    dev: int
    ino: int
    nlink: int
    target: str | None
    rdev: tuple[int, int] | None
    xattrs: tuple[tuple[str, bytes], ...]


More = tuple[str | None, tuple[int, int] | None, tuple[tuple[str, bytes], ...]]
"""The fields that few entries have: (target, rdev, xattrs)."""

NUMBERS = Entry._fields[:9]
"""The fields of an Entry that are numbers: the columns of a Tree."""

ROOT = -1
"""The position of the root directory's entry, which is in no column."""

Positions = npt.NDArray[np.intp]
"""Indexes into the columns of a Tree."""

NO_POSITIONS: Positions = np.empty(0, np.intp)

TAR_FORMAT = 1
"""Number of the rules by which layers are written: a change of any entry's bytes needs another number,
unless the Tree has the change, too, so that the fingerprints of these entries change with it.

A Ledger records it; layers of another format are all repacked. tests/data/golden.json has digests per format.
"""

PREFIX_BYTES = 8
"""Bytes of a diff_id that a Ledger records to identify a layer."""

_KINDS = tuple(Kind)
_NO_MORE: More = (None, None, ())
_CHUNK = 4096
_INO = 1 << 64
"""Inode numbers are unsigned and have 64 bits."""


class Tree:
    """Every path of a root filesystem once, parents before children, siblings in byte order.

    Iteration yields paths in the byte order of the whole path (so `a-b` before `a/b`; a directory always
    comes before its content). The root itself is in `root`, never among the paths.
    The data is in columns; an Entry is created only on request.

    paths: all paths, in the order of iteration.
    names: `paths` as an array.
    position: path -> its position.
    numbers: a row of NUMBERS for each path.
    more: position -> the other fields of its Entry, if it has any.
    parent: for each position, the position of its directory; ROOT in the root directory.
    leader: position of a hard link -> the first position of its group, which is not among the keys.
    links: `leader` as paths.

    Args:
        root: the Entry of `/`.
        entries: path -> Entry, in any order.
    """

    __slots__ = ("leader", "links", "more", "names", "numbers", "parent", "paths", "position", "root")

    def __init__(self, root: Entry, entries: Mapping[str, Entry]) -> None:
        rows = [
            (*entry[:7], (entry.ino + _INO // 2) % _INO - _INO // 2, entry.nlink)
            for entry in entries.values()
        ]
        more = {index: entry[9:] for index, entry in enumerate(entries.values()) if entry[9:] != _NO_MORE}
        index_of = dict(zip(entries, range(len(entries)), strict=True))
        parents = np.array([index_of.get(path.rpartition("/")[0], -1) for path in entries], np.int64)
        self._fill(root, list(entries), np.array(rows, np.int64).reshape(-1, len(NUMBERS)), more, parents)

    @classmethod
    def of_rows(
        cls,
        root: Entry,
        paths: list[str],
        numbers: npt.NDArray[np.int64],
        more: Mapping[int, More],
        parents: npt.NDArray[np.int64],
    ) -> Tree:
        """Return a Tree made of columns, whose rows may be in any order.

        Args:
            numbers: a row of NUMBERS for each of the paths.
            more: index among the paths -> the other fields.
            parents: index of the directory of each path, -1 in the root directory.
        """
        tree = object.__new__(cls)
        tree._fill(root, paths, numbers, more, parents)
        return tree

    def _fill(
        self,
        root: Entry,
        paths: list[str],
        numbers: npt.NDArray[np.int64],
        more: Mapping[int, More],
        parents: npt.NDArray[np.int64],
    ) -> None:
        count = len(paths)
        # Strings sort faster than bytes, but only ASCII ones in the same order.
        keys = paths if all(map(str.isascii, paths)) else list(map(path_key, paths))
        order = sorted(range(count), key=keys.__getitem__)
        ordered = list(map(paths.__getitem__, order))
        places = np.array(order, np.intp)
        positions = np.empty(count, np.intp)
        positions[places] = np.arange(count)
        self.root = root
        self.paths = ordered
        self.names = np.array(ordered, np.object_)
        self.position = dict(zip(ordered, range(count), strict=True))
        self.numbers = numbers[places]
        self.more = {int(positions[old]): rest for old, rest in more.items()}
        ordered_parents = parents[places]
        inside = ordered_parents >= 0
        self.parent = np.full(count, -1, np.int32)
        self.parent[inside] = positions[ordered_parents[inside]]
        self.leader = self._hard_links()
        self.links = {ordered[link]: ordered[first] for link, first in self.leader.items()}

    def _hard_links(self) -> dict[int, int]:
        inodes = self.column("ino")
        sorted_inodes = np.sort(inodes)
        # compare inode numbers first: few paths share one
        several = sorted_inodes[1:][sorted_inodes[1:] == sorted_inodes[:-1]]
        first: dict[tuple[int, int], int] = {}
        links: dict[int, int] = {}
        for position in np.flatnonzero(np.isin(inodes, several)).tolist() if len(several) else ():
            entry = self.entry(position)
            if entry.kind is not Kind.DIRECTORY:
                leader = first.setdefault((entry.dev, entry.ino), position)
                if leader != position:
                    links[position] = leader
        return links

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __contains__(self, path: object) -> bool:
        return path in self.position

    def __getitem__(self, path: str) -> Entry:
        return self.entry(self.position[path])

    def get(self, path: str) -> Entry | None:
        """Return the Entry at `path`, or None."""
        position = self.position.get(path)
        return None if position is None else self.entry(position)

    def entry(self, position: int) -> Entry:
        """Return the Entry at a position."""
        return make_entry(self.numbers[position].tolist(), self.more.get(position, _NO_MORE))

    def column(self, name: str) -> npt.NDArray[np.int64]:
        """Return the column of one of NUMBERS."""
        return self.numbers[:, NUMBERS.index(name)]

    def paths_at(self, positions: Positions) -> list[str]:
        """Return the paths at these positions; "" at ROOT."""
        # numpy would take ROOT for the index of the last path
        found: list[str] = self.names[positions].tolist() if len(self.paths) else [""] * len(positions)
        for index in np.flatnonzero(positions == ROOT).tolist():
            found[index] = ""
        return found

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Yield (path, Entry) in the order of iteration."""
        more = self.more.get
        for start in range(0, len(self.paths), _CHUNK):
            rows = self.numbers[start : start + _CHUNK].tolist()
            for position, row in enumerate(rows, start):
                yield self.paths[position], make_entry(row, more(position, _NO_MORE))

    def below(self, directory: str) -> range:
        """Return the positions of all paths below a directory ("" is the root)."""
        if not directory:
            return range(len(self.paths))
        # the byte after a slash is 0
        first = bisect_left(self.paths, path_key(directory) + b"/", key=path_key)
        return range(first, bisect_left(self.paths, path_key(directory) + b"0", first, key=path_key))

    def ancestors(self, positions: Positions) -> Positions:
        """Return the positions of all directories above `positions`, in order, without the root."""
        found: set[int] = set()
        level = set(self.parent[positions].tolist()) - {ROOT}
        while level:
            found |= level
            level = set(self.parent[list(level)].tolist()) - found - {ROOT}
        return np.array(sorted(found), np.intp)


def make_entry(numbers: Sequence[int], more: More = _NO_MORE) -> Entry:
    """Return the Entry with these NUMBERS and these other fields."""
    kind, mode, uid, gid, size, mtime, dev, ino, nlink = numbers
    # Entry(...) takes twice the time.
    return tuple.__new__(Entry, (_KINDS[kind], mode, uid, gid, size, mtime, dev, ino % _INO, nlink, *more))


def path_key(path: str) -> bytes:
    """Return the bytes of a path, the sort key of paths everywhere."""
    return path.encode("utf-8", "surrogateescape")


class ComponentId(NamedTuple):
    """`source/name`: the source that claimed the component, and the component's name there."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ComponentId:
        """Parse the result of str(): the source ends at the first slash.

        Raises:
            ValueError: there is no slash, or nothing before or after it.
        """
        source, slash, name = text.partition("/")
        if not (source and slash and name):
            raise ValueError(f"not a component id: {text!r}")
        return cls(source, name)


@dataclass(frozen=True, slots=True)
class Component:
    """Files that change together. Planning and equality ignore `positions`.

    size: bytes of all its tar entries, with headers and padding.
    fingerprint: 8 bytes, a hash of everything that its tar entries will hold; only planning uses it.
    version: as its database writes it, or ""; several versions are separated by spaces, the newest last.
    changes: epoch seconds of known upstream changes (from changelogs), newest first.
    interval: days between updates if an attribute sets them (user.update-interval), else None.
    built: epoch seconds, the newest build time of its packages; None if unknown.
    positions: of its paths in the Tree, in order, without ancestor directories that it shares with others.
    """

    id: ComponentId
    size: int
    fingerprint: bytes
    version: str = ""
    changes: tuple[int, ...] = ()
    interval: float | None = None
    built: int | None = None
    positions: Positions = field(default_factory=lambda: NO_POSITIONS, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer as a list of component ids, in a plan or in a Ledger.

    components: sorted.
    rate: expected share of updates in which it changes, 0..1.
    prefix: the first PREFIX_BYTES of its diff_id's SHA-256 if the layer is recorded, or expected to equal a
        recorded one; else b"".
    fee: bytes per update that opening a clean layer of the previous image costs; else 0.0.
    """

    components: tuple[ComponentId, ...]
    rate: float = 0.0
    prefix: bytes = b""
    fee: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of layers, bottom first. Each component is in exactly one layer; no layer is empty."""

    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...] = field(default=())
