"""The Board on which sources claim paths for components, and the protocol of a source.

Sources run in the order of assign.SOURCES; the first claim of a path wins. Descriptions (digests and build
times from package databases) are independent of claims: they hold whichever component owns the path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.group_file import Group
from rechunk_podman.components.preload import Databases
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import ROOT, ComponentId, Kind, Placement, Positions, Tree
from rechunk_podman.packages.digests import DIGEST_SIZE
from rechunk_podman.rootfs.paths import canonicaliser
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

EVERY_BUILD = 1 / 24
"""The update interval, in days, of the package databases, which change at every build."""

NOBODY = -1

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """The user's own rules.

    maps: paths of component maps, outside the root filesystem.
    groups: in order.
    """

    maps: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()


NO_RULES = Rules()


class Source(Protocol):
    """A rule that finds components. Modules implement it.

    name: the source in the ids of its components; of the source of packages, a name for all of them.
    rule: why it claims a path, in words.
    """

    name: str
    rule: str

    def claim(self, root: Root, board: Board) -> None:
        """Claim and describe the paths that this source knows. Do nothing if its database is absent.

        Raises:
            DatabaseError: the database exists and cannot be read at all.
            RootfsError: a file cannot be read, or attributes contradict each other.
        """


class Draft:
    """A component while sources add to it.

    changes: epoch seconds.
    built: epoch seconds, the newest build of its packages; None if unknown.
    interval: days between updates; None if unknown.
    placement: of its layer; it holds if the component has `least` bytes.
    """

    __slots__ = (*("_interval_path", "built", "changes", "id", "interval", "least", "placement", "version"),)

    def __init__(self, ident: ComponentId) -> None:
        self.id = ident
        self.version = ""
        self.changes: set[int] = set()
        self.built: int | None = None
        self.interval: float | None = None
        self.placement = Placement.SHARED
        self.least = 0
        self._interval_path = ""

    def add_build(self, time: int | None) -> None:
        """Add the build time of one of its packages; None and 0 mean unknown."""
        if time is not None and time > 0:
            self.built = max(self.built or 0, time)

    def set_interval(self, days: float, path: str) -> None:
        """Set the interval that an attribute of `path` asks for.

        Raises:
            RootfsError: an attribute of another path asks for a different interval.
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
    """The owner of each path of a Tree, and its description by package databases.

    Columns, indexed by position (one more object per path would cost 20 MB at 300,000 paths):

    owner: number of the component that owns the path; NOBODY before a claim, and for non-empty directories.
    described_by: number of the component whose package describes the path, or NOBODY.
    leader: position of the hard-link leader; the position itself if it is no hard link. A hard link shares
        the claims and descriptions of its leader.
    kind, size, mtime: as in the Tree.
    regular: True for regular files.
    inner: True for directories that are not empty.
    attributed: True for entries with extended attributes.
    keep: True if the mtime is kept.
    algorithm: the key of the digest in ALGORITHMS; 0 if unknown.
    has_digest: True if `digests` holds the digest of the content.
    digests: a row of DIGEST_SIZE bytes.

    Other attributes:

    drafts: the components, by number.
    paths, position: as in the Tree. They make objects of the paths that are asked for; loops over all paths
        are slow: ask `paths.find_joined()`, `paths.ending()` and the columns for many at once.
    canonical: see paths.canonicaliser().
    databases: the package databases, for the source of packages.
    workers: threads that read files for sources; None: the calling thread does.
    owner_from: position -> position whose owner it takes after all claims.
    intervals: position -> days from an attribute of the path, for its owner after all claims.
    rules: the user's own.
    moved_to: number of a component -> that of the component which takes all its paths after all claims.
    watched: the position whose owner somebody wants explained, see because(); else ROOT.
    """

    watched = ROOT

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
        "moved_to",
        "mtime",
        "owner",
        "owner_from",
        "paths",
        "position",
        "regular",
        "rules",
        "size",
        "tree",
        "workers",
    )

    def __init__(
        self, tree: Tree, databases: Databases, rules: Rules = NO_RULES, workers: Workers | None = None
    ) -> None:
        self.tree = tree
        self.rules = rules
        self.moved_to: dict[int, int] = {}
        self.databases = databases
        self.workers = workers
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
        """Return the number of the component `source/name`; add the component if it is new."""
        ident = ComponentId(source, name)
        number = self._numbers.setdefault(ident, len(self.drafts))
        if number == len(self.drafts):
            self.drafts.append(Draft(ident))
        return number

    def has_component(self, source: str, name: str) -> bool:
        """Return True if the component `source/name` exists."""
        return ComponentId(source, name) in self._numbers

    def because(self, rule: str, *record: object) -> None:
        """Say by which rule, and which records of its data, the source claims paths from now on.

        Here nothing is done. A Board that explains the owner of a path keeps it (why.py).
        """

    def claim(self, position: int, number: int) -> None:
        """Claim a path for a component, unless an earlier source has claimed it.

        Within a source the lowest id wins, so that the order of a database's records does not matter.
        Directories that are not empty have no owner: their claims are ignored.
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
        """Claim the directories (or files) with these canonical paths, and everything below them."""
        for directory in dict.fromkeys(directories):
            position = self.position.get(directory)
            if position is not None:
                self.claim(position, number)
            below = self.tree.below(directory)
            self.claim_all(np.arange(below.start, below.stop), number)

    def unclaimed(self) -> Positions:
        """Return the positions without an owner that need one, in order; for hard links only the leader."""
        found = (self.owner == NOBODY) & ~self.inner & (self.leader == np.arange(len(self.leader)))
        found[list(self.owner_from)] = False
        return np.flatnonzero(found)

    def describe(self, position: int, number: int, algorithm: int = 0) -> bool:
        """Record that a package of a component holds this regular file, and the algorithm of its digest.

        Returns:
            True if the description is accepted: of the packages that hold a path those of the earlier source
            describe it, and of these the one of the lowest id.
        """
        position = self.leader[position]
        held = self.described_by[position]
        if held not in (NOBODY, number):
            old, new = self.drafts[held].id, self.drafts[number].id
            if old.source != new.source or old < new:
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
        """Describe the positions that are regular files, with their digests as far as the database has them.

        Args:
            known: for each position, True if there is a digest.
            digests: a row for each position, meaningless if there is no digest.
            believed: for each position, True if the file is unchanged since the digest was recorded.
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
        """Set the digest of a file's content."""
        position = self.leader[position]
        self.digests[position] = np.frombuffer(padded_digest(digest), np.uint8)
        self.has_digest[position] = True


def padded_digest(digest: bytes) -> bytes:
    """Return DIGEST_SIZE bytes of a digest: truncated, or padded with zeros."""
    return digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0")
