"""The Board on which sources claim paths for components, and what a source is.

A source is a module: `name`, and `claim(root, board)`, which reads the source's database, does nothing
where it is absent, and claims. Sources run in the order of assign.SOURCES; the first claim of a path wins.
Describing is apart from claiming: a package database's knowledge of a file (its package's build time, its
digest) holds whoever claims it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import ComponentId, Entry, Kind, Tree
from rechunk_podman.packages.digests import DIGEST_SIZE
from rechunk_podman.packages.protocol import Database
from rechunk_podman.rootfs.paths import canonicaliser
from rechunk_podman.rootfs.root import Root

ALWAYS = 1 / 24
"""Days between changes of what changes at every build: the package databases themselves."""

NOBODY = -1

Numbers = npt.NDArray[np.intp]
"""Positions, to index columns with."""

_IS_REGULAR = bytes(number == Kind.FILE for number in range(256))


class Source(Protocol):
    """One way to find components. Implemented by modules."""

    name: str

    def claim(self, root: Root, board: Board) -> None:
        """Claims and describes what this source knows.

        Raises:
            DatabaseError: its database is there and cannot be read at all.
            RootfsError: a file cannot be read, or says what cannot be.
        """


class Group:
    """A component in the making.

    changes: epoch seconds. clamp: build time of the package, None where there is none.
    interval: days, where somebody said so, and in `said_by` the path at which it was said.
    """

    __slots__ = ("changes", "clamp", "id", "interval", "said_by", "version")

    def __init__(self, ident: ComponentId) -> None:
        self.id = ident
        self.version = ""
        self.changes: set[int] = set()
        self.clamp: int | None = None
        self.interval: float | None = None
        self.said_by = ""

    def built(self, time: int | None) -> None:
        """Raises the clamp to `time`: the newest build of the group's packages counts."""
        if time is not None and time > 0:
            self.clamp = max(self.clamp or 0, time)

    def every(self, days: float, path: str) -> None:
        """Sets the interval, as said at `path`.

        Raises:
            RootfsError: another path said otherwise.
        """
        if self.interval is not None and self.said_by and self.interval != days:
            raise RootfsError(
                f"two update intervals for the component {self.id}",
                context=[
                    f"/{self.said_by} says {self.interval:g} days",
                    f"/{path} says {days:g} days",
                ],
                hint="give user.update-interval the same value at both paths",
            )
        self.interval = days
        self.said_by = path


class Columns:
    """The columns of a Board as arrays that share their memory, for work on many positions at once.

    leader: position -> of its leader, its own where it is no hard link. digests: DIGEST_SIZE bytes in a row.
    attributed: whether it has extended attributes.
    """

    __slots__ = (
        "algorithm",
        "attributed",
        "described",
        "digests",
        "has_digest",
        "inner",
        "keep",
        "kinds",
        "leader",
        "mtime",
        "owner",
        "regular",
        "size",
    )

    def __init__(self, board: Board, digests: bytearray) -> None:
        self.owner = np.asarray(board.owner)
        self.described = np.asarray(board.described)
        tree = board.tree
        self.size, self.mtime = tree.column("size"), tree.column("mtime")
        self.attributed = np.zeros(len(tree), np.bool_)
        self.attributed[[position for position, rest in tree.more.items() if rest[2]]] = True
        self.kinds = np.asarray(memoryview(board.kinds))
        self.regular = self.kinds == Kind.FILE
        self.inner = np.asarray(memoryview(board.inner))
        self.keep = np.asarray(memoryview(board.keep))
        self.algorithm = np.asarray(memoryview(board.algorithm))
        self.has_digest = np.asarray(memoryview(board.has_digest))
        self.digests = np.asarray(memoryview(digests)).reshape(-1, DIGEST_SIZE)
        self.leader = np.arange(len(board.paths))
        self.leader[list(board.leader)] = list(board.leader.values())

    def clamps(self, board: Board) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Group -> its clamp, and whether it has one; NOBODY (the last) has none."""
        clamps = [*(group.clamp for group in board.groups), None]
        return (
            np.array([0 if clamp is None else clamp for clamp in clamps], np.int64),
            np.array([clamp is not None for clamp in clamps]),
        )


class Board:
    """Who claims which path of a Tree, and what databases say of it. Paths are numbered in Tree order.

    Columns rather than objects: at 300,000 paths each object more per path costs 20 MB.
    """

    __slots__ = (
        "_digests",
        "_ids",
        "algorithm",
        "canonical",
        "columns",
        "described",
        "followers",
        "groups",
        "has_digest",
        "inner",
        "intervals",
        "keep",
        "kinds",
        "leader",
        "loaded",
        "owner",
        "paths",
        "position",
        "regular",
        "tree",
    )

    def __init__(self, tree: Tree, loaded: dict[str, Database | None] | None = None) -> None:
        self.tree = tree
        # ecosystem -> its database, where it was read ahead; taken out by the source of packages
        self.loaded = loaded or {}
        self.paths = tree.paths
        self.position = tree.position
        count = len(self.paths)
        self.groups: list[Group] = []
        self._ids: dict[ComponentId, int] = {}
        self.canonical = canonicaliser(tree)
        # position -> group that owns it, group of the package that describes it
        self.owner = array("i", [NOBODY]) * count
        self.described = array("i", [NOBODY]) * count
        # position -> 1: a regular file / a directory with something in it / its digest is known / its
        # mtime is kept
        self.kinds = tree.column("kind").astype(np.uint8).tobytes()
        self.regular = self.kinds.translate(_IS_REGULAR)
        self.inner = bytearray(count)
        self.has_digest = bytearray(count)
        self.keep = bytearray(count)
        # position -> number of its digest's algorithm, 0 where nobody knows it
        self.algorithm = bytearray(count)
        self._digests = bytearray(DIGEST_SIZE * count)
        # position of a hard link -> of its leader
        self.leader = tree.leader
        # position -> position whose component it shares, decided when all sources have claimed
        self.followers: dict[int, int] = {}
        # position -> days: said of a path by its xattr, for whatever component it ends in
        self.intervals: dict[int, float] = {}
        for parent in set(tree.parent.tolist()) - {NOBODY}:
            self.inner[parent] = 1
        self.columns = Columns(self, self._digests)

    def group(self, source: str, name: str) -> int:
        """The number of the group `source/name`, made where it is new."""
        ident = ComponentId(source, name)
        number = self._ids.get(ident)
        if number is None:
            number = self._ids[ident] = len(self.groups)
            self.groups.append(Group(ident))
        return number

    def entry(self, position: int) -> Entry:
        """The Entry of a position."""
        return self.tree.entry(position)

    def claim(self, position: int, group: int) -> None:
        """Gives a path to a group, unless an earlier source has it.

        Within a source the lowest id wins, so that the order of a database's records does not matter. A hard
        link speaks for its whole group. Directories with something in them belong to nobody: no-op.
        """
        position = self.leader.get(position, position)
        if self.inner[position]:
            return
        held = self.owner[position]
        if held == NOBODY:
            self.owner[position] = group
        elif held != group:
            mine, other = self.groups[group].id, self.groups[held].id
            if mine.source == other.source and mine < other:
                self.owner[position] = group

    def claim_all(self, positions: Numbers, group: int) -> None:
        """As claim() of each."""
        columns = self.columns
        at = columns.leader[positions]
        at = at[columns.inner[at] == 0]
        held = columns.owner[at]
        columns.owner[at[held == NOBODY]] = group
        for position in at[(held != NOBODY) & (held != group)].tolist():
            self.claim(position, group)

    def is_free(self, position: int) -> bool:
        """Whether nobody has claimed it and somebody has to."""
        position = self.leader.get(position, position)
        return self.owner[position] == NOBODY and not self.inner[position] and position not in self.followers

    def free(self) -> Iterator[int]:
        """The positions that are free, in Tree order; hard links by their leaders."""
        for position, owner in enumerate(self.owner):
            taken = owner != NOBODY or self.inner[position]
            if not (taken or position in self.leader or position in self.followers):
                yield position

    def describe(self, position: int, group: int, algorithm: int = 0) -> bool:
        """Notes that a package of `group` holds this regular file, whose digest would be by `algorithm`.

        Returns:
            Whether this description stands (the lowest id describes a path that several packages hold).
        """
        position = self.leader.get(position, position)
        held = self.described[position]
        if held != NOBODY and held != group and self.groups[held].id < self.groups[group].id:
            return False
        self.described[position] = group
        self.algorithm[position] = algorithm
        self.has_digest[position] = 0
        return True

    def describe_all(
        self,
        positions: Numbers,
        known: npt.NDArray[np.bool_],
        digests: npt.NDArray[np.uint8],
        group: int,
        algorithm: int,
        believed: npt.NDArray[np.bool_],
    ) -> None:
        """As describe() of each that is a regular file, and set_digest() where its database has a digest.

        Args:
            known: of each, whether there is a digest; digests: a row of each, of meaning where there is one.
            believed: of each, whether the file is still the one that the digest is of.
        """
        columns = self.columns
        at = columns.leader[positions]
        believed = known & believed
        held = columns.described[at]
        regular = columns.regular[at]
        contested = regular & (held != NOBODY) & (held != group)
        for place in np.flatnonzero(contested).tolist():
            stands = self.describe(int(at[place]), group, algorithm if known[place] else 0)
            if stands and believed[place]:
                self.set_digest(int(at[place]), digests[place].tobytes())
        plain = regular & ~contested
        at = at[plain]
        columns.described[at] = group
        columns.algorithm[at] = np.where(known[plain], algorithm, 0)
        columns.has_digest[at] = believed[plain]
        columns.digests[at] = 0
        columns.digests[at, : digests.shape[1]] = digests[plain]

    def set_digest(self, position: int, digest: bytes) -> None:
        """Notes the digest of a file's content: as its database has it, or computed."""
        position = self.leader.get(position, position)
        start = position * DIGEST_SIZE
        self._digests[start : start + DIGEST_SIZE] = digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0")
        self.has_digest[position] = 1

    def digest(self, position: int) -> bytes:
        """DIGEST_SIZE bytes; of meaning where has_digest says so."""
        start = position * DIGEST_SIZE
        return bytes(self._digests[start : start + DIGEST_SIZE])

    def below(self, directory: str) -> range:
        """The positions of everything below a directory, in Tree order."""
        return self.tree.below(directory)

    def claim_below(self, directories: Iterable[str], group: int) -> None:
        """Claims whatever is free at or below the directories (or files) of these canonical paths."""
        for directory in dict.fromkeys(directories):
            position = self.position.get(directory)
            if position is not None:
                self.claim(position, group)
            self.claim_all(np.array(self.below(directory), np.intp), group)

    def files(self, positions: Iterable[int]) -> Iterator[int]:
        """Those of the positions that are regular files."""
        return (position for position in positions if self.regular[position])
