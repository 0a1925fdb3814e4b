"""Which mtime each regular file will have ("mtimes and determinism" in docs/architecture.md).

Directories 0, symlinks and special files 1: those need no telling. Files of a package: no later than its
build. Files of no package: a time that their content decides. Kept files: their own.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable

from rechunk_podman.components.base import Board
from rechunk_podman.model import Kind

log = logging.getLogger("rechunk_podman")

CONTENT_EPOCH = 347_155_200
"""1981-01-01: late enough for zip in every time zone, and CONTENT_BITS later still before any real
installation, so that a time made here can be told from one that an installation made."""

CONTENT_BITS = 28
"""About 8.5 years of seconds: two contents of a path hardly ever share their time."""

CONTENT_END = CONTENT_EPOCH + (1 << CONTENT_BITS)


def content_mtime(digest: bytes) -> int:
    """Epoch seconds, decided by the first bits of a content's digest: CONTENT_EPOCH <= time < CONTENT_END."""
    return CONTENT_EPOCH + (int.from_bytes(digest[:4], "big") >> (32 - CONTENT_BITS))


def keep_paths(board: Board, paths: Iterable[str]) -> None:
    """Marks files, and all files below directories, as kept. A path that is not there is a warning."""
    for given in paths:
        path = board.canonical(given)
        if path is None:
            log.warning("--keep-mtime %s: nothing is there", given)
            continue
        position = board.position.get(path)
        below = [] if position is not None and not board.inner[position] else board.below(path)
        for found in board.files(below if position is None else [position, *below]):
            board.keep[board.leader.get(found, found)] = 1


def _clamps(board: Board) -> list[int | None]:
    """Group -> its clamp; NOBODY (the last) has none."""
    return [*(group.clamp for group in board.groups), None]


def will_change(board: Board) -> bytearray:
    """1 at the position of each regular file whose mtime will not stay what it is (hard links: 0)."""
    changes = bytearray(len(board.paths))
    clamps = _clamps(board)
    for position, regular in enumerate(board.regular):
        if regular and not board.keep[position]:
            clamp = clamps[board.described[position]]
            changes[position] = clamp is None or board.mtime[position] > clamp
    for link in board.leader:
        changes[link] = 0
    return changes


def normalise(board: Board) -> array[int]:
    """The mtime of each position as a layer will hold it, epoch seconds. Every digest must be there."""
    times = array("q", bytes(8 * len(board.paths)))
    clamps = _clamps(board)
    for position, regular in enumerate(board.regular):
        if regular:
            mtime = board.mtime[position]
            clamp = clamps[board.described[position]]
            if board.keep[position]:
                times[position] = mtime
            elif clamp is None:
                times[position] = content_mtime(board.digest(position))
            else:
                times[position] = mtime if mtime < clamp else clamp
    for link, leader in board.leader.items():
        times[link] = times[leader]
    for position, (_, entry) in enumerate(board.tree.items()):
        if not board.regular[position] and entry.kind is not Kind.DIRECTORY:
            times[position] = 1
    return times


def exceptions(board: Board, times: array[int]) -> dict[str, int]:
    """The paths whose time is not min(mtime, clamp of their component), and that time."""
    found: dict[str, int] = {}
    clamps = _clamps(board)
    for position, regular in enumerate(board.regular):
        if regular:
            clamp = clamps[board.owner[position]]
            if clamp is None or times[position] != min(board.mtime[position], clamp):
                found[board.paths[position]] = times[position]
    return found
