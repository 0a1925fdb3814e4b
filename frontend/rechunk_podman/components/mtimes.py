"""The mtime of every entry in a layer ("mtimes and determinism" in docs/architecture.md).

Directories have 0, symlinks and special files 1. Files of a package: at most its build time. Files of no
package, and of components that are laid in parts: a hash of their content. Kept files: their own mtime. Hard
links: the mtime of their leader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board, Flags
from rechunk_podman.model import Kind, Positions

log = logging.getLogger("rechunk_podman")

CONTENT_EPOCH = 347_155_200
"""1981-01-01: late enough for zip in every time zone. Times up to CONTENT_BITS later are recognisable, since
they are earlier than any real installation."""

CONTENT_BITS = 28
"""About 8.5 years of seconds: two contents of a path rarely have the same time."""

CONTENT_END = CONTENT_EPOCH + (1 << CONTENT_BITS)

SOURCES_AND_COMPILED = (b".el", b".elc", b".scm", b".go")
"""Ends of names of files whose times programs compare: Emacs Lisp and Guile, sources and compiled."""

_NO_BUILD = (1 << 63) - 1


def content_mtimes(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return epoch seconds from the first bits of digests: CONTENT_EPOCH <= time < CONTENT_END.

    Args:
        digests: one a row, of at least four bytes.
    """
    first = np.ascontiguousarray(digests[:, :4]).view(">u4").reshape(-1).astype(np.int64)
    return CONTENT_EPOCH + (first >> (32 - CONTENT_BITS))


def keep_paths(board: Board, paths: Iterable[str]) -> None:
    """Mark files, and all files below directories, as kept. Warn about paths that do not exist."""
    for given in paths:
        path = board.canonical(given)
        if path is None:
            log.warning("--keep-mtime %s: nothing is there", given)
            continue
        below = board.tree.below(path)
        positions = np.arange(below.start, below.stop)
        if path:
            positions = np.append(positions, board.position[path])
        board.keep[board.leader[positions[board.regular[positions]]]] = True


def _builds(board: Board) -> npt.NDArray[np.int64]:
    """Return the build time of the package that describes each position, or _NO_BUILD."""
    built = [_NO_BUILD if draft.built is None else draft.built for draft in board.drafts]
    # the last element is for NOBODY, which is the index -1
    return np.array([*built, _NO_BUILD], np.int64)[board.described_by]


def will_change(board: Board) -> Flags:
    """Return True for each position of a regular file, not a hard link, whose mtime will change."""
    built = _builds(board)
    changes: Flags = board.regular & ~board.keep & ((built == _NO_BUILD) | (board.mtime > built))
    changes[list(board.tree.leader)] = False
    return changes


def layer_mtimes(board: Board) -> npt.NDArray[np.int64]:
    """Return for each position the mtime (epoch seconds) in a layer. Every digest must be known."""
    built = _builds(board)
    times = (board.kind != Kind.DIRECTORY).astype(np.int64)
    packaged = np.where(built == _NO_BUILD, content_mtimes(board.digests), np.minimum(board.mtime, built))
    times[board.regular] = np.where(board.keep, board.mtime, packaged)[board.regular]
    return np.asarray(times[board.leader])


def steady_mtimes(board: Board, mtimes: npt.NDArray[np.int64], compiled: Positions) -> npt.NDArray[np.int64]:
    """Return for each position the mtime in a layer that holds only some parts of a component.

    A build of a package stamps most of its files with its own time, so that a file of the same content would
    have another mtime in each version. Files whose times programs compare are excepted.

    Args:
        mtimes: of layers that hold whole components.
        compiled: positions of sources whose byte code may record their times.
    """
    steady = board.regular & ~board.keep
    steady[compiled] = False
    for end in SOURCES_AND_COMPILED:
        steady[board.paths.ending(end)] = False
    times = mtimes.copy()
    times[steady] = content_mtimes(board.digests)[steady]
    return np.asarray(times[board.leader])


def own_mtimes(board: Board, mtimes: npt.NDArray[np.int64], compiled: Positions) -> Flags:
    """Return True for each position that must keep the mtime that it has in the Tree.

    Args:
        mtimes, compiled: as for steady_mtimes().
    """
    own = board.keep.copy()
    own[compiled] = True
    return np.asarray((own & (mtimes == board.mtime))[board.leader])
