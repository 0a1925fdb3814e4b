"""Package files that are not at their paths: a tool moved, or moved and renamed them.

ostree moves /etc to /usr/etc and /boot to /usr/lib/modules; composing tools rename kernels and databases.
("Ownership rules" in docs/components.md)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NOBODY, Board, Flags, padded_digest
from rechunk_podman.components.content import digest_missing
from rechunk_podman.model import Positions
from rechunk_podman.packages.digests import SHA256
from rechunk_podman.packages.protocol import Files
from rechunk_podman.rootfs.root import Root

MOST_SEARCHED = 64 << 20
"""Bytes of files that are read for missing files of unknown size: under their names, and under others."""

LEAST_SEARCHED = 4 << 10
"""Bytes of the smallest file that is read under another name; it hardly matters where smaller ones travel."""

_LEFT_OUT = ("usr/share/doc/", "usr/share/info/", "usr/share/locale/", "usr/share/man/")
"""Directories that small images leave out. Files of unknown size that are missing there are not searched."""

_KEY = 20
"""Bytes by which digests are compared: the shortest form of SHA-256 that a database records (apk)."""


class _Missing(NamedTuple):
    """A packaged file that is not at its path.

    name: its base name.
    size: bytes; 0 if unknown.
    number: the component of the package.
    """

    name: str
    size: int
    number: int


class Missing:
    """The packaged files of a database that are not at their paths, and whose digests it records."""

    __slots__ = ("_by_digest", "_names", "_sizes")

    def __init__(self) -> None:
        self._by_digest: dict[tuple[int, bytes], list[_Missing]] = {}
        self._sizes: set[int] = set()
        self._names: set[str] = set()
        """Base names of files of unknown size."""

    def add(self, files: Files, here: npt.NDArray[np.bool_], number: int) -> None:
        """Add a package's files that are not there; leave out those without a digest, and empty ones.

        Args:
            here: for each path, True if it exists.
            number: the component of the package.
        """
        digests = files.digests
        if digests is None:
            return
        lost = ~here & digests.recorded
        if files.sizes is not None:
            lost &= files.sizes > 0
        if files.packaged is not None:
            lost &= files.packaged
        chosen = np.flatnonzero(lost).tolist()
        paths = files.paths.unpack() if chosen else []
        for index in chosen:
            size = 0 if files.sizes is None else int(files.sizes[index])
            if not size and paths[index].startswith(_LEFT_OUT):
                continue
            name = paths[index].rpartition("/")[2]
            if size:
                self._sizes.add(size)
            else:
                self._names.add(name)
            key = digests.algorithm, padded_digest(digests.rows[index].tobytes())[:_KEY]
            self._by_digest.setdefault(key, []).append(_Missing(name, size, number))

    def claim(self, root: Root, board: Board) -> None:
        """Claim and describe the files elsewhere that have a missing file's content.

        Those of its name come first: several components may miss the same content. Without the name it
        counts only if a single component misses it. For missing files whose size is unknown, files of the
        same name are read, then others, the smallest first.

        Raises:
            RootfsError: a candidate cannot be read.
        """
        if not self._by_digest:
            return
        leads = board.leader == np.arange(len(board.leader))
        free = board.regular & leads & (board.described_by == NOBODY) & (board.size > 0)
        if self._sizes:
            self._search(root, board, free & np.isin(board.size, np.array(sorted(self._sizes), np.int64)))
        if self._names:
            positions = np.flatnonzero(free)
            names = [path.rpartition("/")[2] for path in board.tree.paths_at(positions)]
            named = np.fromiter(map(self._names.__contains__, names), np.bool_, len(names))
            self._search(root, board, _smallest(board, positions[named]))
            others = positions[~named]
            self._search(root, board, _smallest(board, others[board.size[others] >= LEAST_SEARCHED]))

    def _search(self, root: Root, board: Board, candidates: Flags) -> None:
        """Read these files, and claim those that are missing ones."""
        # SHA-256 last: its digests stay, for files of no package need them
        algorithms = {algorithm for algorithm, _ in self._by_digest}
        for algorithm in sorted(algorithms, key=lambda algorithm: (algorithm == SHA256, algorithm)):
            positions = np.flatnonzero(candidates & (board.described_by == NOBODY))
            board.algorithm[positions] = algorithm
            board.has_digest[positions] &= algorithm == SHA256
            digest_missing(root, board, board.workers, only=candidates)
            self._claim_same(board, positions, algorithm)
            rest = positions[board.described_by[positions] == NOBODY]
            board.algorithm[rest] = 0
            board.has_digest[rest] = algorithm == SHA256

    def _claim_same(self, board: Board, positions: Positions, algorithm: int) -> None:
        """Claim the files at these positions whose digests, by `algorithm`, are those of missing files."""
        for position in positions.tolist():
            digest = board.digests[position].tobytes()
            size = int(board.size[position])
            found = self._by_digest.get((algorithm, digest[:_KEY]), ())
            those = [missing for missing in found if missing.size in (0, size)]
            if not those:
                continue
            name = board.paths[position].rpartition("/")[2]
            named = {missing.number for missing in those if missing.name == name}
            numbers = named or {missing.number for missing in those}
            if named or len(numbers) == 1:
                number = min(numbers, key=lambda number: board.drafts[number].id)
                board.describe(position, number, algorithm)
                board.set_digest(position, digest)
                board.claim(position, number)


def _smallest(board: Board, positions: Positions) -> Flags:
    """Return, for each position of the tree, True for the smallest of these, MOST_SEARCHED bytes in all."""
    order = positions[np.argsort(board.size[positions], kind="stable")]
    flags = np.zeros(len(board.leader), np.bool_)
    flags[order[np.cumsum(board.size[order]) <= MOST_SEARCHED]] = True
    return flags
