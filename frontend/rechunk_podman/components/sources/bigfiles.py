"""Components of one file each, for big files that no package owns."""

from __future__ import annotations

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.rootfs.root import Root

name = "bigfiles"
rule = "nothing claims the file, and it is big"

THRESHOLD = 1 << 20
"""Bytes from which a file gets a component of its own."""

MOST = 256
"""The largest number of such components, since a Ledger must hold them all; the biggest files count."""


def claim(root: Root, board: Board) -> None:
    """Claim every unclaimed regular file of THRESHOLD bytes and more, each for a component of its own."""
    positions = board.unclaimed()
    big = positions[board.regular[positions] & (board.size[positions] >= THRESHOLD)]
    for position in big[np.argsort(-board.size[big], kind="stable")][:MOST].tolist():
        board.claim(position, board.component(name, board.paths[position]))
