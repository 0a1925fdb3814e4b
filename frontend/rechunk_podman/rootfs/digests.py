"""The SHA-256 of all regular files of a scanned root filesystem, on all cores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from rechunk_podman.model import Kind, Positions, Tree
from rechunk_podman.native import read_files
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

_BATCH = 1 << 20
"""Bytes that a thread reads at once, unless a file is larger."""
_FILE_COST = 1 << 10
"""Bytes that a file counts in a batch beside its content."""
_SIZE = 32

_File = tuple[str, int, int]
"""Path, size in bytes and mtime of a regular file."""


def digests_of(root: Root, tree: Tree, workers: Workers) -> dict[str, bytes]:
    """Return path -> SHA-256 of every regular file. The content of hard links is read once.

    Raises:
        RootfsError: a file is unreadable, or changed since the scan.
    """
    regular = tree.column("kind") == Kind.FILE
    regular[list(tree.leader)] = False
    batches = list(_batches(tree, np.flatnonzero(regular)))
    found: dict[str, bytes] = {}
    for number, digests in workers.map(_digest, ((root, _files(tree, batch)) for batch in batches)):
        for index, path in enumerate(tree.paths_at(batches[number])):
            found[path] = digests[index * _SIZE : (index + 1) * _SIZE]
    for link, first in tree.links.items():
        if first in found:
            found[link] = found[first]
    return found


def _batches(tree: Tree, positions: Positions) -> Iterator[Positions]:
    """Yield groups of neighbours, so that no thread has much more to do than another."""
    filled = np.cumsum(tree.column("size")[positions] + _FILE_COST) // _BATCH
    yield from filter(len, np.split(positions, np.flatnonzero(np.diff(filled)) + 1))


def _files(tree: Tree, batch: Positions) -> list[_File]:
    sizes, mtimes = (tree.column(name)[batch].tolist() for name in ("size", "mtime"))
    return list(zip(tree.paths_at(batch), sizes, mtimes, strict=True))


def _digest(root: Root, files: list[_File]) -> bytes:
    """Return the joined digests of files. This function runs in any thread."""
    if sum(size for _, size, _ in files) > 2 * _BATCH:
        with root.duplicate() as own:
            return b"".join([own.sha256(path) for path, _, _ in files])
    try:
        data = memoryview(read_files(root.fd, files))
    except (OSError, LookupError) as error:
        raise root.read_error(error) from error
    digests = []
    start = 0
    for _, size, _ in files:
        digests.append(hashlib.sha256(data[start : start + size]).digest())
        start += size
    return b"".join(digests)
