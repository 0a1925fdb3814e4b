"""The mtime of every entry in a layer ("mtimes and determinism" in docs/architecture.md).

Directories 0, symlinks and special files 1. Files of a package: no later than its build. Files of no package:
a time that their content decides. Kept files: their own. Hard links: as their leader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board, Flags
from rechunk_podman.model import Kind

log = logging.getLogger("rechunk_podman")

CONTENT_EPOCH = 347_155_200
"""1981-01-01: late enough for zip in every time zone, and CONTENT_BITS later still before any real
installation, so that a time made here can be told from one that an installation made."""

CONTENT_BITS = 28
"""About 8.5 years of seconds: two contents of a path hardly ever share their time."""

CONTENT_END = CONTENT_EPOCH + (1 << CONTENT_BITS)

_NO_BUILD = (1 << 63) - 1


def content_mtimes(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return epoch seconds that the first bits of digests decide: CONTENT_EPOCH <= time < CONTENT_END.

    Args:
        digests: one in each row, of at least four bytes.
    """
    first = np.ascontiguousarray(digests[:, :4]).view(">u4").reshape(-1).astype(np.int64)
    return CONTENT_EPOCH + (first >> (32 - CONTENT_BITS))


def keep_paths(board: Board, paths: Iterable[str]) -> None:
    """Mark files, and all files below directories, as kept. A path that does not exist is a warning."""
    for given in paths:
        path = board.canonical(given)
        if path is None:
            log.warning("--keep-mtime %s: nothing is there", given)
            continue
        positions = np.array(board.tree.below(path), np.intp)
        if path:
            positions = np.append(positions, board.position[path])
        board.keep[board.leader[positions[board.regular[positions]]]] = True


def _builds(board: Board) -> npt.NDArray[np.int64]:
    """Return the build time of the package that describes each position, _NO_BUILD where there is none."""
    built = [_NO_BUILD if draft.built is None else draft.built for draft in board.drafts]
    # the last one is for NOBODY, which is the index -1
    return np.array([*built, _NO_BUILD], np.int64)[board.described_by]


def will_change(board: Board) -> Flags:
    """Return, of each position, whether it is a regular file, and no hard link, whose mtime will change."""
    built = _builds(board)
    changes: Flags = board.regular & ~board.keep & ((built == _NO_BUILD) | (board.mtime > built))
    changes[list(board.tree.leader)] = False
    return changes


def layer_mtimes(board: Board) -> npt.NDArray[np.int64]:
    """Return the mtime (epoch seconds) of each position in a layer. Every digest must be known."""
    built = _builds(board)
    times = (board.kind != Kind.DIRECTORY).astype(np.int64)
    packaged = np.where(built == _NO_BUILD, content_mtimes(board.digests), np.minimum(board.mtime, built))
    times[board.regular] = np.where(board.keep, board.mtime, packaged)[board.regular]
    return np.asarray(times[board.leader])
