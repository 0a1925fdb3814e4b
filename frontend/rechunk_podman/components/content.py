"""Digests of file contents: each file that nobody vouches for is read once."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence

from rechunk_podman.components.base import ALGORITHMS, SHA256, Board
from rechunk_podman.rootfs._contents import read_files
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

_CHUNK = 1 << 20
_BATCH = 1 << 20
"""Bytes that a thread takes at once."""


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
        raise root.changed(path)
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
            if board.columns.size[position]:
                todo.append(position)
            else:
                name = ALGORITHMS[board.algorithm[position] or SHA256]
                board.set_digest(position, hashlib.new(name, usedforsecurity=False).digest())
    batches = list(_batches(board, todo))
    wanted = ((root, *_wanted(board, batch)) for batch in batches)
    for number, digests in (workers or Workers(1)).map(_digests, wanted):
        for position, digest in zip(batches[number], digests, strict=True):
            board.set_digest(position, digest)


def _batches(board: Board, positions: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours, of few bytes together; or a single large file."""
    batch: list[int] = []
    total = 0
    for position in positions:
        size = int(board.columns.size[position])
        if batch and total + size > _BATCH:
            yield batch
            batch, total = [], 0
        batch.append(position)
        total += size
    if batch:
        yield batch


def _wanted(board: Board, batch: list[int]) -> tuple[list[tuple[str, int, int]], list[int]]:
    """Path, size and mtime, and the algorithm, of each."""
    entries = [(board.paths[position], board.entry(position)) for position in batch]
    return (
        [(path, entry.size, entry.mtime) for path, entry in entries],
        [board.algorithm[position] or SHA256 for position in batch],
    )


def _digests(root: Root, files: list[tuple[str, int, int]], algorithms: list[int]) -> list[bytes]:
    if len(files) == 1:
        with root.again() as own:
            return [digest_file(own, *files[0], algorithms[0])]
    try:
        data = memoryview(read_files(root.fd, files))
    except (OSError, LookupError) as error:
        raise root.unread(error) from error
    digests = []
    start = 0
    for (_, size, _), algorithm in zip(files, algorithms, strict=True):
        content = data[start : start + size]
        digests.append(hashlib.new(ALGORITHMS[algorithm], content, usedforsecurity=False).digest())
        start += size
    return digests
