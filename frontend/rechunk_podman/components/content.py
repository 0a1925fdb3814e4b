"""Digests of file contents: each file that nobody vouches for is read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board, Numbers
from rechunk_podman.native import digest_files, has_sha256, read_files
from rechunk_podman.packages.digests import ALGORITHMS, DIGEST_SIZE, SHA256
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
    columns = board.columns
    leads = columns.leader == np.arange(len(board.paths))
    todo = columns.regular & leads & (columns.has_digest == 0)
    algorithms = np.where(columns.algorithm == 0, SHA256, columns.algorithm)
    batches: list[Numbers] = []
    chosen: list[int] = []
    for algorithm in sorted(set(algorithms[todo].tolist())):
        rest = np.flatnonzero(todo & (algorithms == algorithm))
        empty = columns.size[rest] == 0
        digest = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False).digest()
        _note(board, rest[empty], _row(digest))
        found = list(_batches(rest[~empty], columns.size))
        batches += found
        chosen += [algorithm] * len(found)
    wanted = ((root, _files(board, batch), number) for batch, number in zip(batches, chosen, strict=True))
    for number, digests in (workers or Workers(1)).map(_digests, wanted):
        _note(board, batches[number], digests)


def _row(digest: bytes) -> bytes:
    return digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0")


def _note(board: Board, positions: Numbers, digests: bytes) -> None:
    """Gives each of the positions its digest, or all of them the same."""
    board.columns.digests[positions] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_SIZE)
    board.columns.has_digest[positions] = 1


def _batches(positions: Numbers, sizes: npt.NDArray[np.int64]) -> Iterator[Numbers]:
    """Large files in pairs, the largest first; then neighbours, of few bytes together."""
    of_them = sizes[positions]
    large = of_them > _BATCH // 2
    order = np.argsort(-of_them[large], kind="stable")
    pairs = positions[large][order]
    for start in range(0, len(pairs), 2):
        yield pairs[start : start + 2]
    small = positions[~large]
    filled = np.cumsum(sizes[small]) // _BATCH
    yield from filter(len, np.split(small, np.flatnonzero(np.diff(filled)) + 1))


def _files(board: Board, batch: Numbers) -> list[tuple[str, int, int]]:
    """Path, size and mtime of each."""
    columns = board.columns
    paths = map(board.paths.__getitem__, batch.tolist())
    return list(zip(paths, columns.size[batch].tolist(), columns.mtime[batch].tolist(), strict=True))


def _digests(root: Root, files: list[tuple[str, int, int]], algorithm: int) -> bytes:
    """The digests of files, DIGEST_SIZE bytes each."""
    fast = algorithm == SHA256 and has_sha256()
    if not fast and sum(size for _, size, _ in files) > 2 * _BATCH:
        with root.again() as own:
            return b"".join([_row(digest_file(own, *file, algorithm)) for file in files])
    try:
        if fast:
            return digest_files(root.fd, files)
        data = memoryview(read_files(root.fd, files))
    except (OSError, LookupError) as error:
        raise root.unread(error) from error
    digests = []
    start = 0
    for _, size, _ in files:
        content = data[start : start + size]
        digests.append(_row(hashlib.new(ALGORITHMS[algorithm], content, usedforsecurity=False).digest()))
        start += size
    return b"".join(digests)
