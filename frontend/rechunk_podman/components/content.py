"""Digests of file contents: each file that nobody vouches for is read once."""

from __future__ import annotations

import hashlib
import os
from array import array

from rechunk_podman.components.base import ALGORITHMS, SHA256, Board
from rechunk_podman.errors import RootfsError
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

_CHUNK = 1 << 20
_BATCH = 128
"""Files that a thread takes at once: neighbours, whose directory it then opens once."""


def digest_file(root: Root, path: str, size: int, mtime: int, algorithm: int) -> bytes:
    """The digest of a regular file's content, read in pieces.

    Args:
        size, mtime: bytes and epoch seconds, as it was scanned.
        algorithm: a key of ALGORITHMS.

    Raises:
        RootfsError: it vanished, is unreadable, or is no longer what was scanned.
    """
    hasher = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False)
    descriptor = root.open(path)
    try:
        total = 0
        while total <= size:
            wanted = min(_CHUNK, size - total + 1)
            piece = os.read(descriptor, wanted)
            hasher.update(piece)
            total += len(piece)
            if len(piece) < wanted:
                break
        status = os.fstat(descriptor)
    except OSError as error:
        raise root.error(path, error) from error
    finally:
        os.close(descriptor)
    if total != size or status.st_size != size or status.st_mtime_ns // 10**9 != mtime:
        raise RootfsError(
            f"{root.show(path)} changed while it was read",
            context=[f"in the root filesystem {root.path}"],
            hint="nothing may change the root filesystem while it is read",
        )
    return hasher.digest()


def digest_rest(root: Root, board: Board, workers: Workers | None = None) -> None:
    """Gives every regular file its digest, by the algorithm of the package that describes it, else SHA-256.

    Args:
        workers: threads that read files; without them it is done here.

    Raises:
        RootfsError: as digest_file().
    """
    todo = array("I")
    for position, regular in enumerate(board.regular):
        if regular and not board.has_digest[position] and position not in board.leader:
            if board.entry(position).size:
                todo.append(position)
            else:
                name = ALGORITHMS[board.algorithm[position] or SHA256]
                board.set_digest(position, hashlib.new(name, usedforsecurity=False).digest())
    batches = [todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH)]
    wanted = ((root, *_wanted(board, batch)) for batch in batches)
    for number, digests in (workers or Workers(1)).map(_digests, wanted):
        for position, digest in zip(batches[number], digests, strict=True):
            board.set_digest(position, digest)


def _wanted(board: Board, batch: array[int]) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Paths, and of each size, mtime and algorithm."""
    paths = [board.paths[position] for position in batch]
    entries = [board.tree[path] for path in paths]
    algorithms = [board.algorithm[position] or SHA256 for position in batch]
    return paths, [(e.size, e.mtime, number) for e, number in zip(entries, algorithms, strict=True)]


def _digests(root: Root, paths: list[str], wanted: list[tuple[int, int, int]]) -> list[bytes]:
    with root.again() as own:
        return [digest_file(own, path, *traits) for path, traits in zip(paths, wanted, strict=True)]
