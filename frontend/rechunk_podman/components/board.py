"""The Board on which sources claim paths for components, and the protocol of a source.

Sources run in the order of assign.SOURCES; the first claim of a path wins. Describing is apart from claiming:
a package database's knowledge of a file (its package's build time, its digest) holds whoever owns the path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.preload import Databases
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import ComponentId, Kind, Positions, Tree
from rechunk_podman.packages.digests import DIGEST_SIZE
from rechunk_podman.rootfs.paths import canonicaliser
from rechunk_podman.rootfs.root import Root

EVERY_BUILD = 1 / 24
"""The interval, in days, of what changes at every build: the package databases themselves."""

NOBODY = -1

Flags = npt.NDArray[np.bool_]


class Source(Protocol):
    """One way to find components. Implemented by modules."""

    name: str

    def claim(self, root: Root, board: Board) -> None:
        """Claim and describe the paths that this source knows. Do nothing if its database is absent.

        Raises:
            DatabaseError: its database exists and cannot be read at all.
            RootfsError: a file cannot be read, or attributes contradict each other.
        """


class Draft:
    """A component while sources add to it.

    changes: epoch seconds.
    built: epoch seconds, the newest build of its packages; None where there is none.
    interval: days between updates, where somebody said so.
    """

    __slots__ = ("_interval_path", "built", "changes", "id", "interval", "version")

    def __init__(self, ident: ComponentId) -> None:
        self.id = ident
        self.version = ""
        self.changes: set[int] = set()
        self.built: int | None = None
        self.interval: float | None = None
        self._interval_path = ""

    def add_build(self, time: int | None) -> None:
        """Note the build time of one of its packages. None and 0 mean that it is unknown."""
        if time is not None and time > 0:
            self.built = max(self.built or 0, time)

    def set_interval(self, days: float, path: str) -> None:
        """Set the interval, as an attribute of `path` says.

        Raises:
            RootfsError: an attribute of another path says otherwise.
        """
        if self.interval is not None and self._interval_path and self.interval != days:
            raise RootfsError(
                f"two update intervals for the component {self.id}",
                context=[
                    f"/{self._interval_path} says {self.interval:g} days",
                    f"/{path} says {days:g} days",
                ],
                hint="give user.update-interval the same value at both paths",
            )
        self.interval = days
        self._interval_path = path


class Board:
    """Which component owns each path of a Tree, and what package databases say of it.

    Columns, indexed by position; at 300,000 paths an object more for each path costs 20 MB:

    owner: number of the component that owns it; NOBODY before a claim, and of directories that are not empty.
    described_by: number of the component whose package describes it, or NOBODY.
    leader: position of its hard-link leader, its own where it is no hard link. Claims and descriptions of a
        hard link are those of its leader.
    kind, size, mtime: as in the Tree.
    regular: whether it is a regular file.
    inner: whether it is a directory that is not empty.
    attributed: whether it has extended attributes.
    keep: whether its mtime is kept.
    algorithm: a key of ALGORITHMS, that of its digest; 0 where nothing is known.
    has_digest: whether `digests` holds the digest of its content.
    digests: a row of DIGEST_SIZE bytes.

    Besides these: drafts: the components, by number. canonical: see paths.canonicaliser().
    databases: the package databases, for the source of packages.
    owner_from: position -> position whose owner it gets when all sources have claimed.
    intervals: position -> days, as an attribute of the path says, for whichever component owns it in the end.
    """

    __slots__ = (
        "_numbers",
        "algorithm",
        "attributed",
        "canonical",
        "databases",
        "described_by",
        "digests",
        "drafts",
        "has_digest",
        "inner",
        "intervals",
        "keep",
        "kind",
        "leader",
        "mtime",
        "owner",
        "owner_from",
        "paths",
        "position",
        "regular",
        "size",
        "tree",
    )

    def __init__(self, tree: Tree, databases: Databases) -> None:
        self.tree = tree
        self.databases = databases
        self.paths = tree.paths
        self.position = tree.position
        self.canonical = canonicaliser(tree)
        self.drafts: list[Draft] = []
        self._numbers: dict[ComponentId, int] = {}
        count = len(tree)
        self.owner = np.full(count, NOBODY, np.int32)
        self.described_by = np.full(count, NOBODY, np.int32)
        self.leader = np.arange(count)
        self.leader[list(tree.leader)] = list(tree.leader.values())
        self.kind = tree.column("kind").astype(np.uint8)
        self.size, self.mtime = tree.column("size"), tree.column("mtime")
        self.regular = self.kind == Kind.FILE
        self.inner = np.zeros(count, np.bool_)
        self.inner[tree.parent[tree.parent >= 0]] = True
        self.attributed = np.zeros(count, np.bool_)
        self.attributed[[position for position, more in tree.more.items() if more[2]]] = True
        self.keep = np.zeros(count, np.bool_)
        self.algorithm = np.zeros(count, np.uint8)
        self.has_digest = np.zeros(count, np.bool_)
        self.digests = np.zeros((count, DIGEST_SIZE), np.uint8)
        self.owner_from: dict[int, int] = {}
        self.intervals: dict[int, float] = {}

    def component(self, source: str, name: str) -> int:
        """Return the number of the component `source/name`, which is added where it is new."""
        ident = ComponentId(source, name)
        number = self._numbers.setdefault(ident, len(self.drafts))
        if number == len(self.drafts):
            self.drafts.append(Draft(ident))
        return number

    def claim(self, position: int, number: int) -> None:
        """Give a path to a component, unless an earlier source has claimed it.

        Within a source the lowest id wins, so that the order of a database's records does not matter.
        Directories that are not empty belong to nobody: no-op.
        """
        position = self.leader[position]
        if self.inner[position]:
            return
        owner = self.owner[position]
        if owner == NOBODY:
            self.owner[position] = number
        elif owner != number:
            new, old = self.drafts[number].id, self.drafts[owner].id
            if new.source == old.source and new < old:
                self.owner[position] = number

    def claim_all(self, positions: Positions, number: int) -> None:
        """Claim each of the positions, like claim()."""
        leaders = self.leader[positions]
        leaders = leaders[~self.inner[leaders]]
        owners = self.owner[leaders]
        self.owner[leaders[owners == NOBODY]] = number
        for position in leaders[(owners != NOBODY) & (owners != number)].tolist():
            self.claim(position, number)

    def claim_below(self, directories: Iterable[str], number: int) -> None:
        """Claim all at and below the directories (or files) with these canonical paths."""
        for directory in dict.fromkeys(directories):
            position = self.position.get(directory)
            if position is not None:
                self.claim(position, number)
            self.claim_all(np.array(self.tree.below(directory), np.intp), number)

    def unclaimed(self) -> Positions:
        """Return the positions that somebody still has to claim, in order; of hard links the leader's."""
        found = (self.owner == NOBODY) & ~self.inner & (self.leader == np.arange(len(self.leader)))
        found[list(self.owner_from)] = False
        return np.flatnonzero(found)

    def describe(self, position: int, number: int, algorithm: int = 0) -> bool:
        """Note that a package of a component holds this regular file, and the algorithm of its digest.

        Returns:
            Whether this description stands: the lowest id describes a path that several packages hold.
        """
        position = self.leader[position]
        held = self.described_by[position]
        if held not in (NOBODY, number) and self.drafts[held].id < self.drafts[number].id:
            return False
        self.described_by[position] = number
        self.algorithm[position] = algorithm
        self.has_digest[position] = False
        return True

    def describe_all(
        self,
        positions: Positions,
        known: Flags,
        digests: npt.NDArray[np.uint8],
        number: int,
        algorithm: int,
        believed: Flags,
    ) -> None:
        """Describe each of the positions that is a regular file, with its digest where the database has one.

        Args:
            known: of each, whether there is a digest.
            digests: a row of each, of meaning where there is one.
            believed: of each, whether the file is still the one that the digest is of.
        """
        leaders = self.leader[positions]
        believed = known & believed
        held = self.described_by[leaders]
        regular = self.regular[leaders]
        contested = regular & (held != NOBODY) & (held != number)
        for index in np.flatnonzero(contested).tolist():
            stands = self.describe(int(leaders[index]), number, algorithm if known[index] else 0)
            if stands and believed[index]:
                self.set_digest(int(leaders[index]), digests[index].tobytes())
        plain = regular & ~contested
        leaders = leaders[plain]
        self.described_by[leaders] = number
        self.algorithm[leaders] = np.where(known[plain], algorithm, 0)
        self.has_digest[leaders] = believed[plain]
        self.digests[leaders] = 0
        self.digests[leaders, : digests.shape[1]] = digests[plain]

    def set_digest(self, position: int, digest: bytes) -> None:
        """Note the digest of a file's content, as its database has it."""
        position = self.leader[position]
        self.digests[position] = np.frombuffer(padded_digest(digest), np.uint8)
        self.has_digest[position] = True


def padded_digest(digest: bytes) -> bytes:
    """DIGEST_SIZE bytes of a digest: cut off, or padded with zeros."""
    return digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0")
