"""Components from package databases: one for each source package, and one for the database itself.

This module is independent of package managers: readers (packages/protocol.py) hide the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import EVERY_BUILD, NOBODY, Board, padded_digest
from rechunk_podman.components.content import digest_file
from rechunk_podman.components.mtimes import CONTENT_END
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


class _Missing(NamedTuple):
    """A packaged file that is not at its path. digest: DIGEST_SIZE bytes."""

    algorithm: int
    digest: bytes
    number: int


_MissingFiles = dict[tuple[str, int], list[_Missing]]
"""(base name, size in bytes) -> the missing files."""


def claim(root: Root, board: Board, ecosystems: Sequence[Ecosystem] = ECOSYSTEMS) -> None:
    """Claim and describe the files of every installed package for its source package.

    Raises:
        DatabaseError: as Databases.load().
        RootfsError: a file that may be a moved one cannot be read.
    """
    for ecosystem in ecosystems:
        database = board.databases.load(ecosystem, _records(board, ecosystem.locations))
        if database is not None:
            _claim(root, board, ecosystem, database)


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


def _claim(root: Root, board: Board, ecosystem: Ecosystem, database: Database) -> None:
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
    missing: _MissingFiles = {}
    trees: list[tuple[str, int]] = []
    # sorted, so that the numbers of components do not depend on the order of the records
    for source, packages in sorted(by_source.items()):
        number = board.component(ecosystem.name, source)
        _claim_source(root, board, ecosystem, number, packages, missing)
        trees += [(tree, number) for package in packages for tree in package.trees]
    board.because("the path is in a directory of a package or a database", ecosystem.name)
    if trees:
        # the database's own directories may hold packages, and packages may hold such directories
        _claim_trees(board, [*trees, *((directory, own) for directory in database.directories)])
    board.claim_below(directories, own)
    board.because("a package lists a file of this name, size and digest elsewhere", ecosystem.name)
    if missing:
        _claim_moved(root, board, missing)


def _claim_source(
    root: Root,
    board: Board,
    ecosystem: Ecosystem,
    number: int,
    packages: list[Package],
    missing: _MissingFiles,
) -> None:
    """Claim and describe the files of all packages of one source.

    Raises:
        RootfsError: a file that another package manager installed, too, cannot be read.
    """
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
            _take_replaced(root, board, number, package.files, positions)
            _claim_files(board, number, package.files, positions, missing)


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


def _claim_files(
    board: Board, number: int, files: Files, positions: Positions, missing: _MissingFiles
) -> None:
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
    board.describe_all(found, known, rows, number, digests.algorithm, untouched)
    if files.sizes is not None:
        lost = np.flatnonzero(~here & packaged & digests.recorded & (files.sizes > 0)).tolist()
        paths = files.paths.unpack() if lost else []
        for index in lost:
            key = (paths[index].rpartition("/")[2], int(files.sizes[index]))
            digest = padded_digest(digests.rows[index].tobytes())
            missing.setdefault(key, []).append(_Missing(digests.algorithm, digest, number))


def _take_replaced(root: Root, board: Board, number: int, files: Files, positions: Positions) -> None:
    """Claim files that an earlier package manager lists, too, and that were replaced since.

    The content of such a file is not the one that the earlier database records, and not another one than
    `files` records. (pip replaces files of rpm's packages.)

    Raises:
        RootfsError: a file cannot be read.
    """
    source = board.drafts[number].id.source
    here = np.flatnonzero(positions != NOBODY)
    leaders = board.leader[positions[here]]
    owners = board.owner[leaders]
    doubtful = (owners != NOBODY) & (board.described_by[leaders] == owners)
    doubtful &= (board.algorithm[leaders] != 0) & ~board.has_digest[leaders]
    for index, leader in zip(here[doubtful].tolist(), leaders[doubtful].tolist(), strict=True):
        if board.drafts[board.owner[leader]].id.source == source:
            continue
        path, size, mtime = board.paths[leader], int(board.size[leader]), int(board.mtime[leader])
        algorithm = int(board.algorithm[leader])
        digest = padded_digest(digest_file(root, path, size, mtime, algorithm))
        if digest == board.digests[leader].tobytes():
            board.set_digest(leader, digest)
        elif _has_content(root, files, index, path, size, mtime):
            board.owner[leader] = board.described_by[leader] = number
            board.algorithm[leader] = 0


def _has_content(root: Root, files: Files, index: int, path: str, size: int, mtime: int) -> bool:
    """Return False if a package records another content than that of a file.

    Raises:
        RootfsError: the file cannot be read.
    """
    digests = files.digests
    if digests is None or not digests.recorded[index]:
        return True
    if files.sizes is not None and files.sizes[index] not in (size, -1):
        return False
    digest = digest_file(root, path, size, mtime, digests.algorithm)
    return padded_digest(digest) == padded_digest(digests.rows[index].tobytes())


def _is_untouched(
    board: Board, files: Files, chosen: Positions, found: Positions, built: int | None
) -> npt.NDArray[np.bool_]:
    """Return for each chosen path True if its file looks unchanged since the package was unpacked.

    If the database records no mtimes, a file that is newer than the package's build counts as changed.
    """
    if files.mtimes is None:
        result = board.mtime[found] <= (-1 if built is None else built)
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


def _claim_moved(root: Root, board: Board, missing: _MissingFiles) -> None:
    """Claim package files that a compose tool moved: the same base name, size and digest elsewhere.

    (ostree moves /etc to /usr/etc, /boot to /usr/lib/modules.)

    Raises:
        RootfsError: a candidate cannot be read.
    """
    sizes = np.array(sorted({size for _, size in missing}), np.int64)
    leads = board.leader == np.arange(len(board.leader))
    chosen = board.regular & leads & (board.described_by < 0) & np.isin(board.size, sizes)
    positions = np.flatnonzero(chosen)
    for position, path in zip(positions.tolist(), board.tree.paths_at(positions), strict=True):
        size = int(board.size[position])
        candidates = missing.get((path.rpartition("/")[2], size))
        if not candidates or board.described_by[position] >= 0:
            continue
        digests = {
            algorithm: digest_file(root, path, size, int(board.mtime[position]), algorithm)
            for algorithm in sorted({candidate.algorithm for candidate in candidates})
        }
        for found in candidates:
            digest = padded_digest(digests[found.algorithm])
            if digest == found.digest and board.describe(position, found.number, found.algorithm):
                board.set_digest(position, digest)
                board.claim(position, found.number)
