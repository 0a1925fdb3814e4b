"""Package files that are not at their paths: a tool moved, or moved and renamed them.

ostree moves /etc to /usr/etc and /boot to /usr/lib/modules; composing tools rename kernels and databases.
("Ownership rules" in docs/components.md)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NOBODY, Board, padded_digest
from rechunk_podman.components.content import digest_missing
from rechunk_podman.model import Positions
from rechunk_podman.packages.digests import SHA256
from rechunk_podman.packages.protocol import Files
from rechunk_podman.rootfs.root import Root


class _Missing(NamedTuple):
    """A packaged file that is not at its path. name: its base name. digest: DIGEST_SIZE bytes."""

    name: str
    algorithm: int
    digest: bytes
    number: int


class Missing:
    """The packaged files of a database that are not at their paths, of some size."""

    __slots__ = ("_by_size",)

    def __init__(self) -> None:
        self._by_size: dict[int, list[_Missing]] = {}

    def add(self, files: Files, here: npt.NDArray[np.bool_], number: int) -> None:
        """Add a package's files that are not there. Those without a recorded size and digest are left out.

        Args:
            here: for each path, True if it exists.
            number: the component of the package.
        """
        digests = files.digests
        if digests is None or files.sizes is None:
            return
        lost = ~here & digests.recorded & (files.sizes > 0)
        if files.packaged is not None:
            lost &= files.packaged
        chosen = np.flatnonzero(lost).tolist()
        paths = files.paths.unpack() if chosen else []
        for index in chosen:
            digest = padded_digest(digests.rows[index].tobytes())
            found = _Missing(paths[index].rpartition("/")[2], digests.algorithm, digest, number)
            self._by_size.setdefault(int(files.sizes[index]), []).append(found)

    def claim(self, root: Root, board: Board) -> None:
        """Claim and describe the files elsewhere that have a missing file's size and content.

        Those of its name come first: several components may miss the same content. Without the name it
        counts only if a single component misses it.

        Raises:
            RootfsError: a candidate cannot be read.
        """
        if not self._by_size:
            return
        leads = board.leader == np.arange(len(board.leader))
        free = board.regular & leads & (board.described_by == NOBODY)
        free &= np.isin(board.size, np.array(sorted(self._by_size), np.int64))
        algorithms = {found.algorithm for those in self._by_size.values() for found in those}
        # SHA-256 last: its digests stay, for files of no package need them
        for algorithm in sorted(algorithms, key=lambda algorithm: (algorithm == SHA256, algorithm)):
            positions = np.flatnonzero(free & (board.described_by == NOBODY))
            board.algorithm[positions] = algorithm
            board.has_digest[positions] &= algorithm == SHA256
            digest_missing(root, board, board.workers, only=free)
            self._claim_same(board, positions, algorithm)
            rest = positions[board.described_by[positions] == NOBODY]
            board.algorithm[rest] = 0
            board.has_digest[rest] = algorithm == SHA256

    def _claim_same(self, board: Board, positions: Positions, algorithm: int) -> None:
        """Claim the files at these positions whose digests, by `algorithm`, are those of missing files."""
        for position, path in zip(positions.tolist(), board.tree.paths_at(positions), strict=True):
            digest = board.digests[position].tobytes()
            those = [
                found
                for found in self._by_size[int(board.size[position])]
                if found.digest == digest and found.algorithm == algorithm
            ]
            name = path.rpartition("/")[2]
            named = {found.number for found in those if found.name == name}
            numbers = named or {found.number for found in those}
            if named or len(numbers) == 1:
                number = min(numbers, key=lambda number: board.drafts[number].id)
                board.describe(position, number, algorithm)
                board.set_digest(position, digest)
                board.claim(position, number)
