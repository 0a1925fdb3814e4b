"""Which mtime each regular file will have ("mtimes and determinism" in docs/architecture.md).

Directories 0, symlinks and special files 1: those need no telling. Files of a package: no later than its
build. Files of no package: a time that their content decides. Kept files: their own.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board
from rechunk_podman.model import NO_TIME, Kind

log = logging.getLogger("rechunk_podman")

CONTENT_EPOCH = 347_155_200
"""1981-01-01: late enough for zip in every time zone, and CONTENT_BITS later still before any real
installation, so that a time made here can be told from one that an installation made."""

CONTENT_BITS = 28
"""About 8.5 years of seconds: two contents of a path hardly ever share their time."""

CONTENT_END = CONTENT_EPOCH + (1 << CONTENT_BITS)


def content_mtimes(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Epoch seconds, decided by the first bits of a content's digest: CONTENT_EPOCH <= time < CONTENT_END.

    Args:
        digests: one in each row, of at least four bytes.
    """
    first = np.ascontiguousarray(digests[:, :4]).view(">u4").reshape(-1).astype(np.int64)
    return CONTENT_EPOCH + (first >> (32 - CONTENT_BITS))


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


def will_change(board: Board) -> npt.NDArray[np.bool_]:
    """True at the position of each regular file whose mtime will not stay what it is (hard links: false)."""
    columns = board.columns
    clamps, clamped = columns.clamps(board)
    here = columns.described
    changes: npt.NDArray[np.bool_] = (
        columns.regular & (columns.keep == 0) & (~clamped[here] | (columns.mtime > clamps[here]))
    )
    changes[list(board.leader)] = False
    return changes


def normalise(board: Board) -> array[int]:
    """The mtime of each position as a layer will hold it, epoch seconds. Every digest must be there."""
    columns = board.columns
    clamps, clamped = columns.clamps(board)
    here = columns.described
    # symlinks and special files 1, directories 0
    times = (columns.kinds != Kind.DIRECTORY).astype(np.int64)
    regular = np.where(
        columns.keep != 0,
        columns.mtime,
        np.where(clamped[here], np.minimum(columns.mtime, clamps[here]), content_mtimes(columns.digests)),
    )
    times[columns.regular] = regular[columns.regular]
    links = list(board.leader)
    times[links] = times[columns.leader[links]]
    return array("q", times.tobytes())


def exceptions(board: Board, times: array[int]) -> array[int]:
    """The time of each position where it is not min(mtime, clamp of its component), else NO_TIME."""
    columns = board.columns
    clamps, clamped = columns.clamps(board)
    here = columns.owner
    expected = np.minimum(columns.mtime, clamps[here])
    found = columns.regular & (~clamped[here] | (np.asarray(times) != expected))
    return array("q", np.where(found, np.asarray(times), NO_TIME).tobytes())
