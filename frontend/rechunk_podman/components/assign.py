"""assign(): every path of a Tree to exactly one component, and the mtimes that no rule gives."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rechunk_podman.components.board import NOBODY, Board, Group, Numbers, Source
from rechunk_podman.components.content import digest_rest
from rechunk_podman.components.fingerprint import HEAD, block, new_fingerprint, tar_size
from rechunk_podman.components.mtimes import exceptions, keep_paths, normalise, will_change
from rechunk_podman.components.preload import Ahead
from rechunk_podman.components.sources import bigfiles, bytecode, kernel, packages, unclaimed, xattr
from rechunk_podman.model import Component, ComponentId, Kind, Tree
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

SOURCES: tuple[Source, ...] = (xattr, kernel, packages, bytecode, bigfiles, unclaimed)
"""In order: the first claim of a path wins."""

ROOT_ID = ComponentId("filesystem", "root")
"""The component of `/` itself, whose path is ""."""

MOST_CHANGES = 256
"""So many times of changes are kept of a component, the newest."""

_PART = 4096
"""Paths that are hashed at once; part of what a fingerprint means."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """components: sorted by id; every path that needs one is in exactly one. `/` itself is ROOT_ID's.

    mtimes: of each position of the Tree, epoch seconds, where it is a regular file whose time is not
    min(mtime, its component's mtime_clamp), else NO_TIME; all regular files of components without a clamp
    have one.
    """

    components: tuple[Component, ...]
    mtimes: array[int]


def assign(
    root: Root,
    tree: Tree,
    *,
    keep_mtime: Sequence[str] = (),
    root_mode: int = 0o755,
    sources: Sequence[Source] = SOURCES,
    workers: Workers | None = None,
    ahead: Ahead | None = None,
) -> Assignment:
    """Finds the components of a scanned root filesystem, reading what no package database vouches for.

    Args:
        keep_mtime: paths of files and directories whose files keep their mtimes.
        root_mode: of `/` itself, as it will be written.
        sources: in order; the last has to claim everything.
        workers: threads that read files.
        ahead: databases that are being read already.

    Raises:
        RootfsError: a file vanished, changed or cannot be read; attributes that contradict each other.
        DatabaseError: a package database is there and cannot be read at all.
    """
    board = Board(tree, None if ahead is None else ahead.take())
    for source in sources:
        source.claim(root, board)
    _settle(board)
    keep_paths(board, keep_mtime)
    bytecode.keep_recorded(root, board, will_change(board))
    digest_rest(root, board, workers)
    times = normalise(board)
    components = [_root_component(tree, root_mode), *_components(board, times)]
    return Assignment(tuple(sorted(components, key=lambda component: component.id)), exceptions(board, times))


def _settle(board: Board) -> None:
    """Gives followers and hard links their component, components the intervals said of their paths.

    Raises:
        RootfsError: two intervals for one component.
    """
    for follower, followed in board.followers.items():
        board.owner[follower] = board.owner[followed]
    for link, leader in board.leader.items():
        board.owner[link] = board.owner[leader]
    for position, days in board.intervals.items():
        board.groups[board.owner[position]].every(days, board.paths[position])
    _learn_changes(board)


def _learn_changes(board: Board) -> None:
    """What the packages of its files say of changes, for components that know nothing themselves.

    Of the packages that describe files of such a component, the one with the most bytes counts.
    """
    ignorant = {
        number for number, group in enumerate(board.groups) if group.id.source in (xattr.name, kernel.name)
    }
    if not ignorant:
        return
    bytes_of: Counter[tuple[int, int]] = Counter()
    for position in np.flatnonzero(np.isin(board.columns.owner, list(ignorant))).tolist():
        bytes_of[board.owner[position], board.described[position]] += int(board.columns.size[position])
    for (owner, package), _ in sorted(bytes_of.items(), key=lambda item: (item[1], item[0])):
        if package != NOBODY:
            board.groups[owner].changes = board.groups[package].changes


def _root_component(tree: Tree, mode: int) -> Component:
    entry = tree.root._replace(kind=Kind.DIRECTORY, mode=mode, uid=0, gid=0, size=0, xattrs=())
    hasher = new_fingerprint()
    head = np.array([(entry.kind, mode, 0, 0, 0, 0)], HEAD)
    hasher.update(block([""], head, (), b""))
    return Component(ROOT_ID, 512, hasher.digest(), paths=("",))


class _Members:
    """What the components need of every position."""

    __slots__ = ("board", "digested", "heads", "is_link", "others")

    def __init__(self, board: Board, times: array[int]) -> None:
        self.board = board
        columns = board.columns
        self.heads = np.empty(len(board.paths), HEAD)
        self.heads["kind"] = columns.kinds
        for name in ("mode", "uid", "gid", "size"):
            self.heads[name] = board.tree.column(name)
        self.heads["mtime"] = times
        self.is_link = columns.leader != np.arange(len(board.paths))
        self.digested = columns.regular & ~self.is_link
        self.others = self.is_link.copy()
        self.others[list(board.tree.more)] = True

    def block(self, positions: Numbers) -> bytes:
        """What the fingerprint takes of these positions."""
        board = self.board
        others = [
            (
                index,
                board.entry(position),
                board.paths[board.leader[position]] if position in board.leader else None,
            )
            for index, position in zip(
                np.flatnonzero(self.others[positions]).tolist(),
                positions[self.others[positions]].tolist(),
                strict=True,
            )
        ]
        return block(
            board.tree.names[positions].tolist(),
            self.heads[positions],
            others,
            board.columns.digests[positions[self.digested[positions]]].tobytes(),
        )

    def tar_size(self, positions: Numbers) -> int:
        """About the bytes of their tar entries."""
        links = self.is_link[positions]
        attributed = self.board.columns.attributed[positions]
        return tar_size(self.heads[positions[~links]], int(links.sum()), int(attributed.sum()))


def _components(board: Board, times: array[int]) -> Iterator[Component]:
    members = _Members(board, times)
    owned = np.flatnonzero(board.columns.inner == 0)
    if not len(owned):
        return
    owners = board.columns.owner[owned]
    order = np.argsort(owners, kind="stable")
    numbers, starts = np.unique(owners[order], return_index=True)
    for number, own in zip(numbers.tolist(), np.split(owned[order], starts[1:]), strict=True):
        yield _component(members, board.groups[number], own)


def _component(members: _Members, group: Group, own: Numbers) -> Component:
    hasher = new_fingerprint()
    for positions in (members.board.tree.ancestors(own), own):
        # few at a time: a component may hold all of 300,000 paths
        for start in range(0, len(positions), _PART):
            hasher.update(members.block(positions[start : start + _PART]))
    return Component(
        id=group.id,
        size=members.tar_size(own),
        fingerprint=hasher.digest(),
        paths=tuple(members.board.tree.names[own].tolist()),
        version=group.version,
        changes=tuple(sorted(group.changes, reverse=True)[:MOST_CHANGES]),
        interval=group.interval,
        mtime_clamp=group.clamp,
    )
