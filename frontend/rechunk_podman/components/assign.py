"""Assignment of every path of a Tree to exactly one component, and of an mtime to every entry."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NO_RULES, NOBODY, Board, Draft, Rules, Source
from rechunk_podman.components.content import digest_missing
from rechunk_podman.components.fingerprint import HEAD, block, new_fingerprint
from rechunk_podman.components.mtimes import keep_paths, layer_mtimes, steady_mtimes, will_change
from rechunk_podman.components.parts import Piece, cut
from rechunk_podman.components.preload import Databases
from rechunk_podman.components.sources import (
    bigfiles,
    bytecode,
    component_map,
    flatpak,
    groups,
    images,
    kernel,
    links,
    packages,
    unclaimed,
    xattr,
)
from rechunk_podman.model import NUMBERS, ROOT, Component, ComponentId, Kind, Part, Placement, Positions, Tree
from rechunk_podman.native import release_memory
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

log = logging.getLogger("rechunk_podman")

SOURCES: tuple[Source, ...] = (
    xattr,
    component_map,
    groups,
    kernel,
    flatpak,
    images,
    packages,
    links,
    bytecode,
    bigfiles,
    unclaimed,
)
"""All sources in order: the first claim of a path wins."""

ROOT_ID = ComponentId("filesystem", "root")
"""The component of `/` itself."""

MOST_CHANGES = 256
"""The largest number of changes that a component keeps; older ones are dropped."""

Ints = npt.NDArray[np.int64]

_PATHS_AT_ONCE = 4096
"""Paths that are hashed at once. The fingerprints depend on this number."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The components of a root filesystem.

    components: sorted by id; every path that needs a component is in exactly one, `/` itself in ROOT_ID's.
    mtimes: for each position of the Tree, the epoch seconds that a layer will hold.
    steady_mtimes: those in a layer that holds only some parts of its component.
    """

    components: tuple[Component, ...]
    mtimes: Ints
    steady_mtimes: Ints


def assign(
    root: Root,
    tree: Tree,
    *,
    keep_mtime: Sequence[str] = (),
    root_mode: int = 0o755,
    sources: Sequence[Source] = SOURCES,
    workers: Workers | None = None,
    databases: Databases | None = None,
    rules: Rules = NO_RULES,
) -> Assignment:
    """Find the components of a scanned root filesystem. Read the files whose digests no package database has.

    Args:
        keep_mtime: paths of files and directories whose files keep their mtimes.
        root_mode: the mode of `/` in the image.
        sources: in order; the last has to claim everything.
        workers: threads that read files.
        databases: the package databases; workers may already be reading them.
        rules: the user's maps and groups.

    Raises:
        UsageError: a map of the user cannot be read.
        RootfsError: a file vanished, changed or cannot be read; attributes contradict each other.
        DatabaseError: a package database exists and cannot be read at all.
    """
    board = Board(tree, Databases(root) if databases is None else databases, rules, workers)
    claim_all(root, board, sources)
    keep_paths(board, keep_mtime)
    bytecode.keep_recorded(root, board, will_change(board))
    digest_missing(root, board, workers)
    release_memory()
    mtimes = layer_mtimes(board)
    steady = steady_mtimes(board, mtimes, bytecode.compiled_sources(board))
    components = [_root_component(tree, root_mode), *_components(board, mtimes, steady)]
    return Assignment(tuple(sorted(components, key=lambda component: component.id)), mtimes, steady)


def claim_all(root: Root, board: Board, sources: Sequence[Source] = SOURCES) -> None:
    """Let each source claim, in order; then every path that needs a component has one.

    Raises:
        RechunkError: as assign().
    """
    for source in sources:
        board.because(source.rule)
        source.claim(root, board)
    _settle(board)


def _settle(board: Board) -> None:
    """Set the properties that depend on all claims: owners of byte code and hard links, intervals, changes.

    Raises:
        RootfsError: two intervals for one component.
    """
    groups.move(board)
    if board.moved_to:
        # the last element is for NOBODY, which is the index -1
        table = np.append(np.arange(len(board.drafts), dtype=np.int32), np.int32(NOBODY))
        table[list(board.moved_to)] = list(board.moved_to.values())
        board.owner[:] = table[board.owner]
    for position, other in board.owner_from.items():
        board.owner[position] = board.owner[other]
    board.owner[:] = board.owner[board.leader]
    for position, days in board.intervals.items():
        board.drafts[board.owner[position]].set_interval(days, board.paths[position])
    _learn_changes(board)


def _learn_changes(board: Board) -> None:
    """Set the changes of components whose sources know none.

    A component takes the changes of the package that describes its files, or most bytes of them.
    """
    named = (xattr.name, component_map.name, kernel.name)
    ignorant = {number for number, draft in enumerate(board.drafts) if draft.id.source in named}
    if not ignorant:
        return
    bytes_of: Counter[tuple[int, int]] = Counter()
    chosen = np.isin(board.owner, list(ignorant)) & (board.described_by != NOBODY)
    columns = (board.owner[chosen], board.described_by[chosen], board.size[chosen])
    for owner, package, size in zip(*(column.tolist() for column in columns), strict=True):
        bytes_of[owner, package] += size
    for (owner, package), _ in sorted(bytes_of.items(), key=lambda item: (item[1], item[0])):
        board.drafts[owner].changes = board.drafts[package].changes


def tar_sizes(board: Board, positions: Positions) -> Ints:
    """Estimate the bytes of each tar entry: a header, padded content, and PAX records of xattrs."""
    contents = np.where(board.leader[positions] != positions, 0, board.size[positions])
    return np.asarray(512 * (1 + -(-contents // 512)) + 1024 * board.attributed[positions])


def pieces(board: Board, own: Positions) -> tuple[Piece, ...]:
    """Return the parts of the component at these positions; none if they would be less than two."""
    found = cut(board.tree, own, tar_sizes(board, own))
    return found if len(found) > 1 else ()


def _root_component(tree: Tree, mode: int) -> Component:
    entry = tree.root._replace(kind=Kind.DIRECTORY, mode=mode, uid=0, gid=0, size=0, xattrs=())
    hasher = new_fingerprint()
    head = np.array([(entry.kind, mode, 0, 0, 0, 0)], HEAD)
    hasher.update(block(b"", head, (), b""))
    return Component(ROOT_ID, 512, hasher.digest(), positions=np.array([ROOT], np.intp))


class _Entries:
    """The tar entries of all positions, in the form that fingerprints hash.

    Args:
        mtimes, steady: as in an Assignment.
    """

    __slots__ = ("board", "digested", "is_link", "mtimes", "others", "steady")

    def __init__(self, board: Board, mtimes: Ints, steady: Ints) -> None:
        self.board = board
        self.mtimes = mtimes
        self.steady = steady
        self.is_link = board.leader != np.arange(len(board.leader))
        self.digested = board.regular & ~self.is_link
        self.others = self.is_link.copy()
        self.others[list(board.tree.more)] = True

    def _heads(self, positions: Positions, mtimes: Ints) -> npt.NDArray[np.void]:
        heads = np.empty(len(positions), HEAD)
        rows = self.board.tree.numbers[positions]
        for name in ("kind", "mode", "uid", "gid", "size"):
            heads[name] = rows[:, NUMBERS.index(name)]
        heads["mtime"] = mtimes[positions]
        return heads

    def _block(self, positions: Positions, mtimes: Ints) -> bytes:
        """Return the bytes of these positions that a fingerprint hashes."""
        tree = self.board.tree
        others = np.flatnonzero(self.others[positions])
        leaders = map(tree.leader.get, positions[others].tolist())
        return block(
            tree.paths.joined(positions)[:-1],
            self._heads(positions, mtimes),
            [
                (index, tree.entry(position), None if leader is None else tree.paths[leader])
                for index, position, leader in zip(
                    others.tolist(), positions[others].tolist(), leaders, strict=True
                )
            ],
            self.board.digests[positions[self.digested[positions]]].tobytes(),
        )

    def fingerprint(self, own: Positions, mtimes: Ints) -> bytes:
        """Return the fingerprint of the entries at these positions and of all directories above them."""
        hasher = new_fingerprint()
        for positions in (self.board.tree.ancestors(own), own):
            # in batches, to bound memory: a component may hold 300,000 paths
            for start in range(0, len(positions), _PATHS_AT_ONCE):
                hasher.update(self._block(positions[start : start + _PATHS_AT_ONCE], mtimes))
        return hasher.digest()

    def tar_size(self, positions: Positions) -> int:
        """Estimate the bytes of the tar entries at these positions."""
        return int(tar_sizes(self.board, positions).sum())


def _components(board: Board, mtimes: Ints, steady: Ints) -> Iterator[Component]:
    entries = _Entries(board, mtimes, steady)
    owned = np.flatnonzero(~board.inner)
    if not len(owned):
        return
    owners = board.owner[owned]
    order = np.argsort(owners, kind="stable")
    numbers, starts = np.unique(owners[order], return_index=True)
    for number, positions in zip(numbers.tolist(), np.split(owned[order], starts[1:]), strict=True):
        yield _component(entries, board.drafts[number], positions)


def _component(entries: _Entries, draft: Draft, own: Positions) -> Component:
    size = entries.tar_size(own)
    placement = draft.placement
    if placement is not Placement.SHARED and size < draft.least:
        log.info("%s is too small for a layer of its own: %d bytes", draft.id, size)
        placement = Placement.SHARED
    return Component(
        id=draft.id,
        size=size,
        fingerprint=entries.fingerprint(own, entries.mtimes),
        version=draft.version,
        changes=tuple(sorted(draft.changes, reverse=True)[:MOST_CHANGES]),
        interval=draft.interval,
        built=draft.built,
        placement=placement,
        parts=_parts(entries, own),
        positions=own,
    )


def _parts(entries: _Entries, own: Positions) -> tuple[Part, ...]:
    return tuple(
        Part(name, entries.tar_size(own), entries.fingerprint(own, entries.steady), kind, own)
        for name, kind, own in pieces(entries.board, own)
    )
