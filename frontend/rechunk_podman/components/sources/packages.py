"""Components from package databases: one for each source package, and one for the database itself.

This module is independent of package managers: readers (packages/protocol.py) hide the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import EVERY_BUILD, NOBODY, Board
from rechunk_podman.components.moved import Missing
from rechunk_podman.components.mtimes import CONTENT_END, CONTENT_EPOCH
from rechunk_podman.components.replaced import Contested, release_replaced
from rechunk_podman.model import Positions
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Ecosystem, Files, Package, Paths
from rechunk_podman.packages.versions import join_versions
from rechunk_podman.rootfs.root import Root

name = "packages"
rule = "a package database lists the path"

LEAST_PROGRAM = 256 << 10
"""Bytes of the smallest program that is searched for the record of a package; Go makes larger ones."""


class _Doubts(NamedTuple):
    """The files of a database that are not as simple as others."""

    missing: Missing
    contested: Contested


def claim(root: Root, board: Board, ecosystems: Sequence[Ecosystem] = ECOSYSTEMS) -> None:
    """Claim and describe the files of every installed package for its source package.

    Raises:
        DatabaseError: as Databases.load().
        RootfsError: a file that may be a moved or replaced one cannot be read.
    """
    missing: list[tuple[Ecosystem, Missing]] = []
    for ecosystem in ecosystems:
        if ecosystem.locations.embedded:
            # it reads the files that nobody has
            _claim_moved(root, board, missing)
        database = board.databases.load(ecosystem, _records(board, ecosystem.locations))
        if database is not None:
            missing.append((ecosystem, _claim(root, board, ecosystem, database)))
    _claim_moved(root, board, missing)


def _claim_moved(root: Root, board: Board, missing: list[tuple[Ecosystem, Missing]]) -> None:
    """Claim what packages miss at its path and no package lists elsewhere; empty the list."""
    for ecosystem, files in missing:
        board.because("a package lists a file of this size and digest elsewhere", ecosystem.name)
        files.claim(root, board)
    missing.clear()


def _records(board: Board, locations: Locations) -> list[str]:
    """Return the records that lie anywhere in the root filesystem."""
    found = locations.scattered_in(board.paths)
    if locations.embedded:
        positions = board.unclaimed()
        chosen = board.regular[positions]
        if locations.is_program:
            chosen &= (board.tree.column("mode")[positions] & 0o111) != 0
            chosen &= board.size[positions] >= LEAST_PROGRAM
        found += locations.embedded_in(board.paths, positions[chosen])
    return found


def _claim(root: Root, board: Board, ecosystem: Ecosystem, database: Database) -> Missing:
    """Claim and describe what a database lists; return the files that are not at their paths."""
    locations = ecosystem.locations
    own = board.component("database", ecosystem.name)
    board.drafts[own].interval = EVERY_BUILD
    directories = [*database.directories, *map(root.resolve_or_keep, (*locations.copies, *locations.state))]
    if locations.is_exclusive:
        board.claim_below(directories, own)
    by_source: dict[str, list[Package]] = {}
    for package in database.packages:
        record = board.position.get(package.record) if package.record else None
        if record is None or board.described_by[board.leader[record]] == NOBODY:
            by_source.setdefault(package.source, []).append(package)
    doubts = _Doubts(Missing(), Contested())
    trees: list[tuple[str, int]] = []
    # sorted, so that the numbers of components do not depend on the order of the records
    for source, packages in sorted(by_source.items()):
        number = board.component(ecosystem.name, source)
        _claim_source(board, ecosystem, number, packages, doubts)
        trees += [(tree, number) for package in packages for tree in package.trees]
    board.because("the path is in a directory of a package or a database", ecosystem.name)
    if trees:
        # the database's own directories may hold packages, and packages may hold such directories
        _claim_trees(board, [*trees, *((directory, own) for directory in database.directories)])
    board.claim_below(directories, own)
    board.because("of the packages that list the path this one has the content", ecosystem.name)
    release_replaced(root, board, doubts.contested)
    return doubts.missing


def _claim_source(
    board: Board, ecosystem: Ecosystem, number: int, packages: list[Package], doubts: _Doubts
) -> None:
    """Claim and describe the files of all packages of one source."""
    draft = board.drafts[number]
    present = [package for package in packages if not package.is_removed] or packages
    draft.version = join_versions((package.source_version for package in present), ecosystem.compare)
    columns = [positions_of(board, package.files.paths) for package in packages]
    built = [package.built for package in packages if package.built is not None]
    if not built:
        for package, positions in zip(packages, columns, strict=True):
            built += _newest(board, package, positions)
    draft.add_build(max(built, default=None))
    for package, positions in zip(packages, columns, strict=True):
        board.because(rule, ecosystem.name, package.name, package.version)
        draft.changes.update(package.changes)
        for path in package.info:
            position = board.position.get(path)
            if position is not None:
                board.claim(position, number)
        if len(positions):
            _claim_files(board, number, package.files, positions, doubts)


def positions_of(board: Board, paths: Paths) -> Positions:
    """Return the position of each path, or NOBODY if the path does not exist."""
    found = board.paths.find_joined(paths.joined)
    lost = np.flatnonzero(found == NOBODY)
    if len(lost):
        unpacked = paths.unpack()
        # most of them lead through a symlink
        canonical = [board.canonical(unpacked[index]) or "" for index in lost.tolist()]
        found[lost] = board.paths.find_joined(Paths(canonical).joined)
    return found


def _claim_files(board: Board, number: int, files: Files, positions: Positions, doubts: _Doubts) -> None:
    here = positions != NOBODY
    board.claim_all(positions[here if files.installed is None else here & files.installed], number)
    packaged = np.ones(len(positions), np.bool_) if files.packaged is None else files.packaged
    chosen = np.flatnonzero(here & packaged)
    found = positions[chosen]
    digests = files.digests
    if digests is None:
        nothing = np.zeros(len(found), np.bool_)
        board.describe_all(found, nothing, np.zeros((len(found), 1), np.uint8), number, 0, nothing)
        return
    untouched = _is_untouched(board, files, chosen, found, board.drafts[number].built)
    known, rows = digests.recorded[chosen], digests.rows[chosen]
    doubts.contested.add(board, found, known, rows, number, digests.algorithm)
    board.describe_all(found, known, rows, number, digests.algorithm, untouched)
    doubts.missing.add(files, here, number)


def _is_untouched(
    board: Board, files: Files, chosen: Positions, found: Positions, built: int | None
) -> npt.NDArray[np.bool_]:
    """Return for each chosen path True if its file looks unchanged since the package was unpacked.

    If the database records no mtimes, a file that is newer than the package's build counts as changed, and so
    does one that had no package in an image that this one is built upon.
    """
    if files.mtimes is None:
        mtimes = board.mtime[found]
        result = mtimes <= (-1 if built is None else built)
        result &= (mtimes < CONTENT_EPOCH) | (mtimes >= CONTENT_END)
    else:
        result = board.mtime[found] == files.mtimes[chosen]
    if files.sizes is not None:
        result &= board.size[found].astype(np.uint64) == files.sizes[chosen]
    if files.modes is not None:
        result &= board.tree.column("mode")[found] == files.modes[chosen]
    return result


def _newest(board: Board, package: Package, positions: Positions) -> list[int]:
    """Return the newest mtime (none, or one) among the files whose mtime the installation did not set.

    Such mtimes are older than the installation, unless this program set its time, as a hash of a content, in
    an image that this one is built upon.
    """
    if package.unpacked is None:
        return []
    chosen = positions != NOBODY
    chosen[chosen] = board.regular[positions[chosen]]
    digests = package.files.digests
    if digests is not None and digests.recorded.any():
        chosen &= digests.recorded
    mtimes = board.mtime[positions[chosen]]
    before = mtimes[mtimes < package.unpacked] if package.unpacked >= CONTENT_END else mtimes
    return [int(before.max())] if len(before) else []


def _claim_trees(board: Board, trees: list[tuple[str, int]]) -> None:
    """Claim and describe the unclaimed files in directories; of nested directories the innermost counts.

    Args:
        trees: (canonical path of a directory, number of the component that claims it).
    """
    nearest = np.full(len(board.paths), NOBODY, np.int32)
    # an outer directory before inner ones; of equal ones the lowest id stays
    for directory, number in sorted(trees, key=lambda tree: (tree[0].count("/"), -tree[1])):
        below = board.tree.below(directory)
        nearest[below.start : below.stop] = number
        position = board.position.get(directory)
        if position is not None:
            nearest[position] = number
    # in falling order, so that the lowest id claims a hard link with several names
    inside = np.flatnonzero((nearest != NOBODY) & (~board.inner))
    inside = inside[np.argsort(-nearest[inside], kind="stable")]
    leaders = board.leader[inside]
    for column, those in ((board.owner, leaders), (board.described_by, leaders)):
        free = column[those] == NOBODY
        if column is board.described_by:
            free &= board.regular[those]
        column[those[free]] = nearest[inside[free]]
