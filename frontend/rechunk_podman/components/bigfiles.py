"""Components of one file: the big ones that no package holds."""

from __future__ import annotations

from rechunk_podman.components.base import Board
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.root import Root

name = "bigfiles"

THRESHOLD = 1 << 20
"""Bytes from which a file is worth a component of its own."""

MOST = 256
"""So many components at most, the biggest files; a Ledger must hold them all."""


def claim(root: Root, board: Board) -> None:
    """Claims every free regular file of THRESHOLD bytes and more, each for itself."""
    sizes = (
        (-board.entry(position).size, position)
        for position in board.free()
        if board.entry(position).kind is Kind.FILE and board.entry(position).size >= THRESHOLD
    )
    for _, position in sorted(sizes)[:MOST]:
        board.claim(position, board.group(name, board.paths[position]))
