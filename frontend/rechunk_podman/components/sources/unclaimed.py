"""Components of the paths that no other source claims, one for each subtree: /etc, /opt/app, /usr/local."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.rootfs.root import Root

name = "unclaimed"
rule = "nothing claims the path; it goes with its directory"

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
"""Directory -> the depth of the subtrees below it; 1 for all others."""

MOST = 128
"""The largest number of components. Beyond it the smallest subtrees join the directory above them."""

TOP = "."
"""The name of the component of entries directly in the root directory."""


def subtree(path: str) -> str:
    """Return the directory by which an unclaimed path is grouped, from the path alone. Pure."""
    parents = path.split("/")[:-1]
    depth = 1
    for known in (2, 1):
        depth = max(depth, DEPTHS.get("/".join(parents[:known]), 1))
    return "/".join(parents[:depth]) or TOP


def claim(root: Root, board: Board) -> None:
    """Claim all unclaimed paths."""
    positions = board.unclaimed()
    # every path in a directory is in the same subtree
    directories, first, inside, counts = np.unique(
        board.tree.parent[positions], return_index=True, return_inverse=True, return_counts=True
    )
    subtrees = [subtree(f"{path}/") for path in board.tree.paths_at(directories.astype(np.intp))]
    sizes: Counter[str] = Counter()
    for found, count in zip(subtrees, counts.tolist(), strict=True):
        sizes[found] += count
    merged = _merge(sizes)
    numbers = np.empty(len(directories), np.int32)
    for index in np.argsort(first).tolist():
        numbers[index] = board.component(name, merged[subtrees[index]])
    board.owner[positions] = numbers[inside]


def _merge(counts: Counter[str]) -> dict[str, str]:
    """Return for each subtree the one it is merged into, maybe itself; at most MOST different ones."""
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
