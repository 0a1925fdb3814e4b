"""Links that a tool makes at the installation: update-alternatives, and busybox.

They belong to the package of the file that they lead to. Sources: update-alternatives(1) (/etc/alternatives,
and the links to it, of dpkg and of chkconfig's alternatives(8), whose records are in var/lib/alternatives);
busybox's `--install -s`, which Alpine's trigger runs.
"""

from __future__ import annotations

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.paths import follow
from rechunk_podman.rootfs.root import Root

name = "links"
rule = "update-alternatives or busybox makes the link, and it goes with the file to which it leads"

ALTERNATIVES = "etc/alternatives/"
_RECORDS = "var/lib/alternatives/"
_BUSYBOX = "busybox"


def claim(root: Root, board: Board) -> None:
    """Give every unclaimed link of these tools to the owner of its target, after all claims."""
    positions = board.unclaimed()
    links = positions[board.kind[positions] == Kind.SYMLINK]
    for position, path in zip(links.tolist(), board.tree.paths_at(links), strict=True):
        if _is_made(path, board.tree.entry(position).target or ""):
            _follow(board, position, path)
    records = positions[np.isin(positions, np.array(board.tree.below(_RECORDS.rstrip("/")), np.intp))]
    for position, path in zip(records.tolist(), board.tree.paths_at(records), strict=True):
        _follow(board, position, ALTERNATIVES + path.removeprefix(_RECORDS))


def _is_made(path: str, target: str) -> bool:
    """Return True if one of the tools makes a link of this path and target."""
    return (
        path.removeprefix("usr/").startswith(ALTERNATIVES)
        or target.startswith("/" + ALTERNATIVES)
        or target.rpartition("/")[2] == _BUSYBOX
    )


def _follow(board: Board, position: int, path: str) -> None:
    """Give a path to the owner of the file (or empty directory) to which another path leads."""

    def target_of(path: str) -> str | None:
        entry = board.tree.get(path)
        if entry is None and f"{path}/".startswith("etc/"):
            # ostree keeps /etc in /usr/etc
            entry = board.tree.get(f"usr/{path}")
        if entry is None:
            raise KeyError(path)
        return entry.target

    try:
        target = board.position.get(follow(path, target_of))
    except (KeyError, OSError):
        return
    if target is not None and not board.inner[target] and board.leader[target] != position:
        board.owner_from[position] = int(board.leader[target])
