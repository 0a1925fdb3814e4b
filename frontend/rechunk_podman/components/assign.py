"""Assignment of every path of a Tree to exactly one component, and of an mtime to every entry."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NO_RULES, NOBODY, Board, Draft, Flags, Rules, Source
from rechunk_podman.components.content import digest_missing
from rechunk_podman.components.fingerprint import Fingerprints, of_root
from rechunk_podman.components.mtimes import (
    keep_paths,
    layer_mtimes,
    own_mtimes,
    steady_mtimes,
    will_change,
)
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
from rechunk_podman.model import ROOT, Component, ComponentId, Part, Placement, Positions, Tree
from rechunk_podman.native import release_memory
from rechunk_podman.pathtable import slices
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import written_root
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


@dataclass(frozen=True, slots=True)
class Assignment:
    """The components of a root filesystem.

    components: sorted by id; every path that needs a component is in exactly one, `/` itself in ROOT_ID's.
    mtimes: for each position of the Tree, the epoch seconds that a layer will hold.
    steady_mtimes: those in a layer that holds only some parts of its component.
    own_mtimes: for each position, True if it must keep the mtime that it has in the Tree: the user says so,
        or byte code may record it.
    """

    components: tuple[Component, ...]
    mtimes: Ints
    steady_mtimes: Ints
    own_mtimes: Flags


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
    compiled = bytecode.compiled_sources(board)
    steady = steady_mtimes(board, mtimes, compiled)
    components = [_root_component(tree, root_mode), *_components(board, mtimes, steady)]
    own = own_mtimes(board, mtimes, compiled)
    del board
    release_memory()
    return Assignment(tuple(sorted(components, key=lambda component: component.id)), mtimes, steady, own)


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
    sizes: Ints = board.size[positions]
    sizes[board.leader[positions] != positions] = 0
    # in place, to save memory
    sizes += 1023
    sizes //= 512
    sizes *= 512
    sizes[board.attributed[positions]] += 1024
    return sizes


def pieces(board: Board, own: Positions) -> tuple[Piece, ...]:
    """Return the parts of the component at these positions; none if they would be less than two."""
    found = cut(board.tree, own, tar_sizes(board, own))
    return found if len(found) > 1 else ()


def _root_component(tree: Tree, mode: int) -> Component:
    fingerprint = of_root(written_root(tree, mode))
    return Component(ROOT_ID, 512, fingerprint, positions=np.array([ROOT], np.intp))


def _components(board: Board, mtimes: Ints, steady: Ints) -> Iterator[Component]:
    owned = np.flatnonzero(~board.inner)
    owned = owned[np.argsort(board.owner[owned], kind="stable")]
    owners = board.owner[owned]
    starts = np.flatnonzero(np.diff(owners, prepend=NOBODY))
    groups = slices(owned, starts.tolist())
    fingerprints = Fingerprints(board)
    rows = zip(owners[starts].tolist(), groups, fingerprints.of(groups, mtimes), strict=True)
    for number, own, fingerprint in rows:
        size = int(tar_sizes(board, own).sum())
        draft = board.drafts[number]
        yield Component(
            id=draft.id,
            size=size,
            fingerprint=fingerprint,
            version=draft.version,
            changes=tuple(sorted(draft.changes, reverse=True)[:MOST_CHANGES]),
            interval=draft.interval,
            built=draft.built,
            placement=_placement(draft, size),
            parts=_parts(board, own, fingerprints, steady),
            positions=own,
        )


def _placement(draft: Draft, size: int) -> Placement:
    if draft.placement is not Placement.SHARED and size < draft.least:
        log.info("%s is too small for a layer of its own: %d bytes", draft.id, size)
        return Placement.SHARED
    return draft.placement


def _parts(board: Board, own: Positions, fingerprints: Fingerprints, steady: Ints) -> tuple[Part, ...]:
    found = pieces(board, own)
    if not found:
        return ()
    hashes = fingerprints.of([piece.positions for piece in found], steady)
    return tuple(
        Part(piece.name, piece.size, fingerprint, piece.kind, piece.positions)
        for piece, fingerprint in zip(found, hashes, strict=True)
    )
