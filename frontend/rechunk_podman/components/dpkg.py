"""Components from dpkg's database: one for each source package, and one for the database itself."""

from __future__ import annotations

from array import array

import numpy as np

from rechunk_podman.components import dpkg_load
from rechunk_podman.components.base import ALWAYS, MD5, Board
from rechunk_podman.components.dpkg_load import Database, Installed
from rechunk_podman.components.mtimes import CONTENT_END
from rechunk_podman.rootfs.root import Root

name = "dpkg"


def claim(root: Root, board: Board) -> None:
    """Claims the files of every installed package for its source package.

    Raises:
        DatabaseError: the status file is there and cannot be read.
    """
    found: Database | None = board.loaded[name] if name in board.loaded else dpkg_load.load(root)
    if found is None:
        return
    by_source: dict[tuple[str, str], list[Installed]] = {}
    for installed in found.installed:
        by_source.setdefault((installed.place, installed.source), []).append(installed)
    for (_, source), packages in by_source.items():
        _source(board, source, packages)
    database = board.group("database", name)
    board.groups[database].interval = ALWAYS
    board.claim_below(found.own, database)


def _source(board: Board, source: str, packages: list[Installed]) -> None:
    """Claims and describes the files of all packages of one source."""
    number = board.group(name, source)
    group = board.groups[number]
    group.version = max(group.version, *(installed.version for installed in packages))
    times: list[int] = []
    newest: list[int] = []
    files: list[tuple[array[int], list[bytes | None]]] = []
    for installed in packages:
        for path in installed.info:
            position = board.position.get(path)
            if position is not None:
                board.claim(position, number)
        found, sums = _positions(board, installed)
        files.append((found, sums))
        times += installed.times
        if not installed.times:
            newest += _newest(board, installed, found, sums)
    group.changes.update(times)
    group.built(max(times, default=None) or max(newest, default=None))
    for found, sums in files:
        positions = np.asarray(found).astype(np.intp)
        board.claim_all(positions, number)
        board.describe_all(positions, number, MD5, sums, -1 if group.clamp is None else group.clamp)


def _positions(board: Board, installed: Installed) -> tuple[array[int], list[bytes | None]]:
    """The positions of a package's paths that hold no others, and the recorded digest of each."""
    positions = array("i")
    digests: list[bytes | None] = []
    known, canonical, inner = board.position.get, board.canonical, board.inner
    for path, digest in zip(installed.paths, installed.digests, strict=True):
        position = known(path[1:])
        if position is None:
            other = canonical(path)
            if not other:
                continue
            position = board.position[other]
        if not inner[position]:
            positions.append(position)
            digests.append(digest)
    return positions, digests


def _newest(board: Board, installed: Installed, found: array[int], sums: list[bytes | None]) -> list[int]:
    """The newest mtime (none, or one) among a package's files that the installation did not stamp.

    What the installation wrote is not older than the list that dpkg writes when it has unpacked; unless
    that list's own time was made from its content, by us, in an image that this one is built upon.
    """
    stamp = installed.stamp or 0.0
    files = [position for position, digest in zip(found, sums, strict=True) if digest]
    mtimes = board.columns.mtime[files or list(board.files(found))].tolist()
    before = [mtime for mtime in mtimes if mtime < stamp] if stamp >= CONTENT_END else mtimes
    return [max(before)] if before else []
