"""The values that stages pass to each other: Entry, Tree, Component, Plan.

Paths are relative to the root filesystem: no leading slash, components joined by one `/`, the root
itself is the empty string; bytes that are not UTF-8 travel as surrogates (`surrogateescape`).
A *position* is the index of a path in its Tree and in every column of the Tree. The root's position is ROOT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.native import path_starts, release_memory, sort_paths, take_paths
from rechunk_podman.pathtable import NO_POSITIONS, PathPositions, PathTable, Positions, distinct, path_key

__all__ = ["NO_POSITIONS", "PathPositions", "PathTable", "Positions", "path_key"]


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

    paths: all paths, in the order of iteration, without an object for each (PathTable).
    position: path -> its position, found in `paths`.
    numbers: a row of NUMBERS for each path.
    more: position -> the other fields of its Entry, if it has any.
    parent: for each position, the position of its directory; ROOT in the root directory.
    leader: position of a hard link -> the first position of its group, which is not among the keys.

    Args:
        root: the Entry of `/`.
        entries: path -> Entry, in any order.
    """

    __slots__ = ("_links", "leader", "more", "numbers", "parent", "paths", "position", "root")

    def __init__(self, root: Entry, entries: Mapping[str, Entry]) -> None:
        ordered = sorted((path_key(path), entry) for path, entry in entries.items())
        rows = [(*entry[:7], (entry.ino + _INO // 2) % _INO - _INO // 2, entry.nlink) for _, entry in ordered]
        self.root = root
        self.numbers = np.array(rows, np.int64).reshape(-1, len(NUMBERS))
        self.more = {
            position: entry[9:] for position, (_, entry) in enumerate(ordered) if entry[9:] != _NO_MORE
        }
        self._set_paths(PathTable(b"".join([path + b"\0" for path, _ in ordered])))
        parents = b"".join([path.rpartition(b"/")[0] + b"\0" for path, _ in ordered])
        self.parent = self.paths.find_joined(parents).astype(np.int32)
        self._set_links()

    @classmethod
    def of_rows(
        cls,
        root: Entry,
        chunks: list[bytes],
        numbers: bytearray,
        more: Mapping[int, More],
        parents: npt.NDArray[np.int64],
        left_out: Sequence[int] = (),
        pruned: Sequence[str] = (),
    ) -> Tree:
        """Return a Tree made of columns, whose rows may be in any order.

        Args:
            chunks: the paths, a zero byte behind each; the list is emptied.
            numbers: a row of NUMBERS for each of the paths; it is emptied.
            more: index among the paths -> the other fields.
            parents: index of the directory of each path, -1 in the root directory.
            left_out: indexes among the paths that the Tree leaves out; no path is below one of them.
            pruned: paths that the Tree leaves out, too, if they are there.

        Raises:
            ValueError: a parent is impossible.
        """
        tree = object.__new__(cls)
        tree.root = root
        text = b"".join(chunks)
        chunks.clear()
        # of the many small blocks nothing goes back by itself, and the next steps need as much again
        release_memory()
        starts = path_starts(text)
        order = np.frombuffer(sort_paths(text, starts, parents), np.int64)
        tree._set_paths(PathTable(take_paths(text, starts, order)))
        found = tree.paths.find_joined(path_key("".join([f"{path}\0" for path in pruned])))
        gone = np.concatenate([np.array(left_out, np.intp), order[found[found >= 0]]])
        if len(gone):
            stays = np.ones(len(order), np.bool_)
            stays[gone] = False
            order = order[stays[order]]
            tree._set_paths(PathTable(take_paths(text, starts, order)))
        positions = np.full(len(parents) + 1, ROOT, np.int32)
        positions[order] = np.arange(len(order), dtype=np.int32)
        tree.parent = positions[parents[order]]
        tree.more = {
            position: rest for old, rest in more.items() if (position := int(positions[old])) != ROOT
        }
        del text, starts, positions
        tree.numbers = np.frombuffer(numbers, np.int64).reshape(-1, len(NUMBERS))[order]
        numbers.clear()
        tree._set_links()
        return tree

    def _set_paths(self, paths: PathTable) -> None:
        self.paths = paths
        self.position = PathPositions(paths)

    def _set_links(self) -> None:
        self.leader = self._hard_links()
        self._links: dict[str, str] | None = None

    @property
    def links(self) -> Mapping[str, str]:
        """Return `leader` as paths: a hard link -> the first path of its group."""
        if self._links is None:
            names = zip(
                *(
                    self.paths_at(np.array(list(found), np.intp))
                    for found in (self.leader, self.leader.values())
                ),
                strict=True,
            )
            self._links = dict(names)
        return self._links

    def _hard_links(self) -> dict[int, int]:
        inodes = self.column("ino")
        sorted_inodes = np.sort(inodes)
        # compare inode numbers first: few paths share one
        several = sorted_inodes[1:][sorted_inodes[1:] == sorted_inodes[:-1]]
        links: dict[int, int] = {}
        if not len(several):
            return links
        first: dict[tuple[int, int], int] = {}
        found = several[np.minimum(np.searchsorted(several, inodes), len(several) - 1)]
        for position in np.flatnonzero(found == inodes).tolist():
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
        return path in self.paths

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
        return self.paths.at(positions)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Yield (path, Entry) in the order of iteration."""
        more = self.more.get
        for start in range(0, len(self.paths), _CHUNK):
            rows = self.numbers[start : start + _CHUNK].tolist()
            paths = self.paths[start : start + _CHUNK]
            for position, (path, row) in enumerate(zip(paths, rows, strict=True), start):
                yield path, make_entry(row, more(position, _NO_MORE))

    def size_without(self, gone: Collection[int]) -> int:
        """Return the bytes of content that have no name left when these positions are gone."""
        names = Counter(self.leader.values())
        lost = Counter(self.leader.get(position, position) for position in gone)
        last = [leader for leader, count in lost.items() if count == names[leader] + 1]
        return int(self.column("size")[last].sum())

    def below(self, directory: str) -> range:
        """Return the positions of all paths below a directory ("" is the root)."""
        return self.paths.below(directory)

    def ancestors(self, positions: Positions) -> Positions:
        """Return the positions of all directories above `positions`, in order, without the root."""
        found = [NO_POSITIONS]
        level = self.parent[positions]
        while len(level := level[level != ROOT]):
            found.append(distinct(level.astype(np.intp)))
            level = self.parent[found[-1]]
        return distinct(np.concatenate(found))


def make_entry(numbers: Sequence[int], more: More = _NO_MORE) -> Entry:
    """Return the Entry with these NUMBERS and these other fields."""
    kind, mode, uid, gid, size, mtime, dev, ino, nlink = numbers
    # Entry(...) takes twice the time.
    return tuple.__new__(Entry, (_KINDS[kind], mode, uid, gid, size, mtime, dev, ino % _INO, nlink, *more))


class ComponentId(NamedTuple):
    """`source/name`: the source that claimed the component, and the component's name there.

    part: in plans and Ledgers, the first of the parts that are laid as one; "" for the whole component.
    """

    source: str
    name: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.source}/{self.name}" + (f"{PART_SIGN}{self.part}" if self.part else "")

    @property
    def whole(self) -> ComponentId:
        """The id of the component that this is a part of, or is."""
        return ComponentId(self.source, self.name) if self.part else self

    @classmethod
    def parse(cls, text: str) -> ComponentId:
        """Parse the result of str(): the source ends at the first slash.

        Raises:
            ValueError: there is no slash, or nothing before or after it.
        """
        source, slash, rest = text.partition("/")
        name, _, part = rest.partition(PART_SIGN)
        if not (source and slash and name):
            raise ValueError(f"not a component id: {text!r}")
        return cls(source, name, part)


PART_SIGN = " · "
"""Stands between the id of a component and the name of a part."""


class Placement(IntEnum):
    """The place that a component must have among the layers.

    SHARED: any, with other components.
    ALONE: a layer that holds nothing else.
    BOTTOM, TOP: such a layer, below or above all layers of other placements.
    """

    SHARED = 0
    ALONE = 1
    BOTTOM = 2
    TOP = 3


class PartKind(IntEnum):
    """The kind of a part's files: a new build changes NOTES always, PROGRAMS mostly, DATA seldom.

    NOTES: changelogs and the rest of /usr/share/doc. PROGRAMS: libraries, too. DATA: all others.
    """

    DATA = 0
    PROGRAMS = 1
    NOTES = 2


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a component, see components/parts.py. Planning and equality ignore `positions`.

    size, fingerprint: as those of a Component.
    """

    name: str
    size: int
    fingerprint: bytes
    kind: PartKind = PartKind.DATA
    positions: Positions = field(default_factory=lambda: NO_POSITIONS, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Component:
    """Files that change together. Planning and equality ignore `positions`.

    size: bytes of all its tar entries, with headers and padding.
    fingerprint: 8 bytes, a hash of everything that its tar entries will hold; only planning uses it.
    version: as its database writes it, or ""; several versions are separated by spaces, the newest last.
    changes: epoch seconds of known upstream changes (from changelogs), newest first.
    interval: days between updates if an attribute, a map or a group sets them, else None.
    built: epoch seconds, the newest build time of its packages; None if unknown.
    placement: the place that a user asks for; a Ledger does not record it.
    parts: every position is in exactly one of them; none if the component is not to be divided.
    members: the components that this fold stands for (planning/folding.py); none if it is one itself.
    positions: of its paths in the Tree, in order, without ancestor directories that it shares with others.
    """

    id: ComponentId
    size: int
    fingerprint: bytes
    version: str = ""
    changes: tuple[int, ...] = ()
    interval: float | None = None
    built: int | None = None
    placement: Placement = Placement.SHARED
    parts: tuple[Part, ...] = ()
    members: tuple[Component, ...] = field(default=(), repr=False)
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
