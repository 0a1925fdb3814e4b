"""assign(): every path of a Tree to exactly one component, and the mtimes that no rule gives."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rechunk_podman.components import bigfiles, bytecode, dpkg, kernel, rpm, unclaimed, xattr
from rechunk_podman.components.ahead import Ahead
from rechunk_podman.components.base import NOBODY, Board, Group, Source
from rechunk_podman.components.content import digest_rest
from rechunk_podman.components.fingerprint import block, new_fingerprint, tar_size
from rechunk_podman.components.mtimes import exceptions, keep_paths, normalise, will_change
from rechunk_podman.model import Component, ComponentId, Kind, Tree
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.paths import with_ancestors
from rechunk_podman.rootfs.root import Root

SOURCES: tuple[Source, ...] = (xattr, kernel, rpm, dpkg, bytecode, bigfiles, unclaimed)
"""In order: the first claim of a path wins. apk and alpm go behind dpkg."""

ROOT_ID = ComponentId("filesystem", "root")
"""The component of `/` itself, whose path is ""."""

MOST_CHANGES = 256
"""So many times of changes are kept of a component, the newest."""

_PART = 4096
"""Paths that are hashed at once; part of what a fingerprint means."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """components: sorted by id; every path that needs one is in exactly one. `/` itself is ROOT_ID's.

    mtimes: path -> epoch seconds, of each regular file whose time is not min(mtime, its component's
    mtime_clamp); all those of components without a clamp are among them.
    """

    components: tuple[Component, ...]
    mtimes: Mapping[str, int]


def assign(
    root: Root,
    tree: Tree,
    *,
    keep_mtime: Sequence[str] = (),
    root_mode: int = 0o755,
    sources: Sequence[Source] = SOURCES,
    crew: Crew | None = None,
    ahead: Ahead | None = None,
) -> Assignment:
    """Finds the components of a scanned root filesystem, reading what no package database vouches for.

    Args:
        keep_mtime: paths of files and directories whose files keep their mtimes.
        root_mode: of `/` itself, as it will be written.
        sources: in order; the last has to claim everything.
        crew: processes that read files.
        ahead: databases that are being read already, by that crew.

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
    digest_rest(root, board, crew)
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
    for position, owner in enumerate(board.owner):
        if owner in ignorant:
            bytes_of[owner, board.described[position]] += board.entry(position).size
    for (owner, package), _ in sorted(bytes_of.items(), key=lambda item: (item[1], item[0])):
        if package != NOBODY:
            board.groups[owner].changes = board.groups[package].changes


def _root_component(tree: Tree, mode: int) -> Component:
    entry = tree.root._replace(kind=Kind.DIRECTORY, mode=mode, uid=0, gid=0, size=0, xattrs=())
    hasher = new_fingerprint()
    hasher.update(block([""], [entry], [0], {}, b""))
    return Component(ROOT_ID, 512, hasher.digest(), paths=("",))


def _components(board: Board, times: array[int]) -> Iterator[Component]:
    members: dict[int, array[int]] = {}
    for position, owner in enumerate(board.owner):
        if not board.inner[position]:
            members.setdefault(owner, array("I")).append(position)
    for owner, positions in members.items():
        yield _component(board, board.groups[owner], positions, times)


def _component(board: Board, group: Group, own: array[int], times: array[int]) -> Component:
    paths = tuple([board.paths[position] for position in own])
    hasher = new_fingerprint()
    for part in _parts(_ancestors(board, paths)):
        hasher.update(_block(board, part, times)[0])
    size = 0
    for part in _parts(own):
        data, bytes_in_tar = _block(board, part, times)
        hasher.update(data)
        size += bytes_in_tar
    return Component(
        id=group.id,
        size=size,
        fingerprint=hasher.digest(),
        paths=paths,
        version=group.version,
        changes=tuple(sorted(group.changes, reverse=True)[:MOST_CHANGES]),
        interval=group.interval,
        mtime_clamp=group.clamp,
    )


def _parts(positions: array[int]) -> Iterator[array[int]]:
    """Few positions at a time: a component may hold all of 300,000 paths."""
    return (positions[start : start + _PART] for start in range(0, len(positions), _PART))


def _block(board: Board, positions: array[int], times: array[int]) -> tuple[bytes, int]:
    """What the fingerprint takes of these positions, and about the bytes of their tar entries."""
    paths = [board.paths[position] for position in positions]
    entries = [board.tree[path] for path in paths]
    links = {
        index: board.paths[board.leader[position]]
        for index, position in enumerate(positions)
        if position in board.leader
    }
    mtimes = [times[position] for position in positions]
    return block(paths, entries, mtimes, links, board.digests(positions)), tar_size(entries, links)


def _ancestors(board: Board, paths: Sequence[str]) -> array[int]:
    """The positions of all directories above the paths, in Tree order, without the root."""
    heads = {path.rpartition("/")[0] for path in paths}
    return array("I", sorted(board.position[path] for path in with_ancestors(heads)))
