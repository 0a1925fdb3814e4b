"""What no other source claims, by subtree: /etc, /opt/app and /usr/local do not share one fate."""

from __future__ import annotations

from collections import Counter

from rechunk_podman.components.board import Board
from rechunk_podman.rootfs.root import Root

name = "unclaimed"

DEPTHS = {
    "home": 2,
    "opt": 2,
    "srv": 2,
    "usr": 2,
    "usr/lib": 3,
    "usr/lib64": 3,
    "usr/libexec": 3,
    "usr/share": 3,
    "usr/src": 3,
    "var": 2,
    "var/cache": 3,
    "var/lib": 3,
}
"""Directory -> how many components a subtree's name may have below it; one elsewhere."""

MOST = 128
"""So many subtrees at most; the smallest are then given to the directory above them."""

TOP = "."
"""The name for what lies in the root directory itself."""


def subtree(path: str) -> str:
    """The directory by which an unclaimed path is grouped. Pure: of the path alone."""
    parents = path.split("/")[:-1]
    depth = 1
    for known in (2, 1):
        depth = max(depth, DEPTHS.get("/".join(parents[:known]), 1))
    return "/".join(parents[:depth]) or TOP


def claim(root: Root, board: Board) -> None:
    """Claims everything that is still free."""
    merged = _merged(Counter(subtree(board.paths[position]) for position in board.free()))
    for position in board.free():
        board.claim(position, board.group(name, merged[subtree(board.paths[position])]))


def _merged(counts: Counter[str]) -> dict[str, str]:
    """Subtree -> the subtree that it is counted with, at most MOST of these."""
    sizes = dict(counts)
    parents: dict[str, str] = {}
    for depth in range(max((subtree.count("/") for subtree in sizes), default=0), -1, -1):
        level = [subtree for subtree in sizes if subtree.count("/") == depth and subtree != TOP]
        for victim in sorted(level, key=lambda subtree: (sizes[subtree], subtree)):
            if len(sizes) <= MOST:
                break
            parent = parents[victim] = victim.rpartition("/")[0] or TOP
            sizes[parent] = sizes.get(parent, 0) + sizes.pop(victim)
    merged = {}
    for subtree in counts:
        target = subtree
        while target in parents:
            target = parents[target]
        merged[subtree] = target
    return merged
