"""Components of one file: the big ones that no package holds."""

from __future__ import annotations

from rechunk_podman.components.board import Board
from rechunk_podman.rootfs.root import Root

name = "bigfiles"

THRESHOLD = 1 << 20
"""Bytes from which a file is worth a component of its own."""

MOST = 256
"""So many components at most, the biggest files; a Ledger must hold them all."""


def claim(root: Root, board: Board) -> None:
    """Claims every free regular file of THRESHOLD bytes and more, each for itself."""
    big = board.columns.regular & (board.columns.size >= THRESHOLD)
    sizes = ((-int(board.columns.size[position]), position) for position in board.free() if big[position])
    for _, position in sorted(sizes)[:MOST]:
        board.claim(position, board.group(name, board.paths[position]))
