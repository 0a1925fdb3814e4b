"""Components from dpkg's database: one for each source package, and one for the database itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import ALWAYS, MD5, NOBODY, Board, Numbers
from rechunk_podman.components.mtimes import CONTENT_END
from rechunk_podman.packages.dpkg import database as dpkg_load
from rechunk_podman.packages.dpkg.database import Database, Installed
from rechunk_podman.rootfs.root import Root

name = "dpkg"

_MD5_SIZE = 16


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
    files: list[_Files] = []
    for installed in packages:
        for path in installed.info:
            position = board.position.get(path)
            if position is not None:
                board.claim(position, number)
        files.append(_files(board, installed))
        times += installed.times
        if not installed.times:
            newest += _newest(board, installed, files[-1])
    group.changes.update(times)
    group.built(max(times, default=None) or max(newest, default=None))
    for found in files:
        board.claim_all(found.positions, number)
        mtimes = board.columns.mtime[board.columns.leader[found.positions]]
        unchanged = mtimes <= (-1 if group.clamp is None else group.clamp)
        board.describe_all(*found, number, MD5, unchanged)


class _Files(NamedTuple):
    """A package's paths that hold no others: of each its position, whether its MD5 is recorded, and that."""

    positions: Numbers
    recorded: npt.NDArray[np.bool_]
    digests: npt.NDArray[np.uint8]


def _files(board: Board, installed: Installed) -> _Files:
    places = list(map(board.position.get, installed.paths))
    if None in places:
        places = [
            board.position.get(board.canonical(path) or "") if place is None else place
            for place, path in zip(places, installed.paths, strict=True)
        ]
    positions = np.array([NOBODY if place is None else place for place in places], np.intp)
    stays = positions != NOBODY
    stays[stays] = board.columns.inner[positions[stays]] == 0
    recorded = np.frombuffer(installed.recorded, np.bool_)
    digests = np.zeros((len(recorded), _MD5_SIZE), np.uint8)
    digests[recorded] = np.frombuffer(installed.digests, np.uint8).reshape(-1, _MD5_SIZE)
    return _Files(positions[stays], recorded[stays], digests[stays])


def _newest(board: Board, installed: Installed, files: _Files) -> list[int]:
    """The newest mtime (none, or one) among a package's files that the installation did not stamp.

    What the installation wrote is not older than the list that dpkg writes when it has unpacked; unless
    that list's own time was made from its content, by us, in an image that this one is built upon.
    """
    stamp = installed.stamp or 0.0
    columns = board.columns
    chosen = files.recorded if files.recorded.any() else columns.regular[files.positions]
    mtimes = columns.mtime[files.positions[chosen]]
    before = mtimes[mtimes < stamp] if stamp >= CONTENT_END else mtimes
    return [int(before.max())] if len(before) else []
