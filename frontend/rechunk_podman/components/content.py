"""Digests of file contents: each file that nobody vouches for is read once, by a few threads."""

from __future__ import annotations

import hashlib
import itertools
import os
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from rechunk_podman.components.base import ALGORITHMS, SHA256, Board
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Entry
from rechunk_podman.rootfs.root import Root

_CHUNK = 1 << 20
_BATCH = 128
"""Files that a thread takes at once: neighbours, whose directory it then opens once."""


def digest_file(root: Root, path: str, entry: Entry, algorithm: int) -> bytes:
    """The digest of a regular file's content, read in pieces.

    Args:
        algorithm: a key of ALGORITHMS.

    Raises:
        RootfsError: it vanished, is unreadable, or is no longer what was scanned.
    """
    hasher = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False)
    descriptor = root.open(path)
    try:
        total = 0
        while total <= entry.size:
            wanted = min(_CHUNK, entry.size - total + 1)
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
    if total != entry.size or status.st_size != entry.size or status.st_mtime_ns // 10**9 != entry.mtime:
        raise RootfsError(
            f"{root.show(path)} changed while it was read",
            context=[f"in the root filesystem {root.path}"],
            hint="nothing may change the root filesystem while it is read",
        )
    return hasher.digest()


def digest_rest(root: Root, board: Board, threads: int) -> None:
    """Gives every regular file its digest, by the algorithm of the package that describes it, else SHA-256.

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
    batches = (todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH))
    threads = min(threads, -(-len(todo) // _BATCH))
    if threads <= 1:
        _digest(root, board, batches)
        return
    # itertools.count is atomic where a generator is not
    ticket = itertools.count()
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_work, root, board, todo, ticket) for _ in range(threads)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            del todo[:]
            raise


def _work(root: Root, board: Board, todo: array[int], ticket: itertools.count[int]) -> None:
    """One thread, with a handle of its own (a Root belongs to one thread)."""
    with Root(f"/proc/self/fd/{root.fd}") as own:
        own.path = root.path
        tickets = iter(lambda: todo[(start := next(ticket) * _BATCH) : start + _BATCH], array("I"))
        _digest(own, board, tickets)


def _digest(root: Root, board: Board, batches: Iterator[array[int]]) -> None:
    for batch in batches:
        for position in batch:
            path = board.paths[position]
            algorithm = board.algorithm[position] or SHA256
            board.set_digest(position, digest_file(root, path, board.tree[path], algorithm))
