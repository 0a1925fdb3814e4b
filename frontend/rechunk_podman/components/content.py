"""Digests of file contents. A file whose digest no package database has is read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board, Flags, padded_digest
from rechunk_podman.model import Positions, Tree
from rechunk_podman.native import read_files
from rechunk_podman.packages.digests import ALGORITHMS, DIGEST_SIZE, SHA256
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

_CHUNK = 1 << 20
_BATCH = 1 << 20
"""Bytes that a thread reads at once."""
_FILE_COST = 1 << 10
"""Bytes that a file counts in a batch beside its content, which bounds the number of files in it."""


def digest_file(root: Root, path: str, size: int, mtime: int, algorithm: int) -> bytes:
    """Return the digest of a regular file's content; read it in pieces.

    Args:
        size: bytes, as scanned.
        mtime: epoch seconds, as scanned.
        algorithm: a key of ALGORITHMS.

    Raises:
        RootfsError: the file vanished, is unreadable, or changed since the scan.
    """
    known = root.recorded_digest(path, ALGORITHMS[algorithm])
    if known is not None:
        return known
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
        raise root.changed_error(path)
    return hasher.digest()


def digest_missing(
    root: Root, board: Board, workers: Workers | None = None, *, only: Flags | None = None
) -> None:
    """Compute the missing digests, by the algorithm of the package that describes the file, else by SHA-256.

    Args:
        workers: threads that read files; without them this thread does.
        only: for each position, False leaves out the file.

    Raises:
        RootfsError: as digest_file().
    """
    leads = board.leader == np.arange(len(board.leader))
    missing = board.regular & leads & ~board.has_digest
    if only is not None:
        missing &= only
    algorithms = np.where(board.algorithm == 0, SHA256, board.algorithm)
    batches: list[tuple[Positions, int]] = []
    for algorithm in sorted(set(algorithms[missing].tolist())):
        positions = np.flatnonzero(missing & (algorithms == algorithm))
        empty = board.size[positions] == 0
        digest = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False).digest()
        _set_digests(board, positions[empty], padded_digest(digest))
        batches += [(batch, algorithm) for batch in _batches(positions[~empty], board.size)]
    items = ((root, _files(board, batch), algorithm) for batch, algorithm in batches)
    for number, digests in (workers or Workers(1)).map(_digest_files, items):
        _set_digests(board, batches[number][0], digests)


def file_digests(root: Root, tree: Tree, positions: Positions, workers: Workers) -> dict[int, bytes]:
    """Return the SHA-256 (32 bytes) of the regular files at these positions.

    Raises:
        RootfsError: as digest_file().
    """
    sizes = tree.column("size")
    batches = list(_batches(positions, sizes))
    mtimes = tree.column("mtime")
    items = (
        (
            root,
            list(zip(tree.paths_at(batch), sizes[batch].tolist(), mtimes[batch].tolist(), strict=True)),
            SHA256,
        )
        for batch in batches
    )
    found: dict[int, bytes] = {}
    for number, digests in workers.map(_digest_files, items):
        for index, position in enumerate(batches[number].tolist()):
            found[position] = digests[index * DIGEST_SIZE : index * DIGEST_SIZE + 32]
    return found


def _set_digests(board: Board, positions: Positions, digests: bytes) -> None:
    """Set the digests of the positions: one for each, or the same for all."""
    board.digests[positions] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_SIZE)
    board.has_digest[positions] = True


def _batches(positions: Positions, sizes: npt.NDArray[np.int64]) -> Iterator[Positions]:
    """Yield large files in pairs, the largest first; then groups of small neighbours."""
    chosen = sizes[positions]
    large = chosen > _BATCH // 2
    order = np.argsort(-chosen[large], kind="stable")
    pairs = positions[large][order]
    for start in range(0, len(pairs), 2):
        yield pairs[start : start + 2]
    small = positions[~large]
    filled = np.cumsum(sizes[small] + _FILE_COST) // _BATCH
    yield from filter(len, np.split(small, np.flatnonzero(np.diff(filled)) + 1))


def _files(board: Board, batch: Positions) -> list[tuple[str, int, int]]:
    """Return the path, size and mtime of each position."""
    paths = board.tree.paths_at(batch)
    return list(zip(paths, board.size[batch].tolist(), board.mtime[batch].tolist(), strict=True))


def _digest_files(root: Root, files: list[tuple[str, int, int]], algorithm: int) -> bytes:
    """Return the digests of files, DIGEST_SIZE bytes each."""
    if root.recorded_digest(files[0][0], ALGORITHMS[algorithm]) is not None:
        return b"".join([padded_digest(digest_file(root, *file, algorithm)) for file in files])
    ends = list(accumulate([size for _, size, _ in files], initial=0))
    if ends[-1] > 2 * _BATCH:
        with root.duplicate() as own:
            return b"".join([padded_digest(digest_file(own, *file, algorithm)) for file in files])
    try:
        data = memoryview(read_files(root.fd, files))
    except (OSError, LookupError) as error:
        raise root.read_error(error) from error
    # hashlib.new() takes longer to find the algorithm than to hash a small file
    new = getattr(hashlib, ALGORITHMS[algorithm])
    digests = [new(data[start:end], usedforsecurity=False).digest() for start, end in pairwise(ends)]
    if len(digests[0]) != DIGEST_SIZE:
        digests = list(map(padded_digest, digests))
    return b"".join(digests)
