"""Links that a tool makes at the installation: update-alternatives, and busybox.

They belong to the package of the file that they lead to. Sources: update-alternatives(1) (/etc/alternatives,
and the links to it, of dpkg and of chkconfig's alternatives(8), whose records are in var/lib/alternatives);
busybox's `--install -s`, which Alpine's trigger runs. dpkg's records stay with its database: they list the
alternatives of all packages, and change with any of them.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.paths import follow
from rechunk_podman.rootfs.root import Root

name = "links"
rule = "update-alternatives or busybox makes the link, and it goes with the file to which it leads"

ALTERNATIVES = "etc/alternatives/"
_RECORDS = "var/lib/alternatives/"
_ALL_RECORDS = (_RECORDS, "var/lib/dpkg/alternatives/")
_MOST_RECORD = 1 << 20
"""Bytes of the largest record that is read."""
_MOST_RECORDS = 10_000
_BUSYBOX = "busybox"


def claim(root: Root, board: Board) -> None:
    """Give every unclaimed link of these tools to the owner of its target, after all claims."""
    positions = board.unclaimed()
    links = positions[board.kind[positions] == Kind.SYMLINK]
    made = [
        (position, path)
        for position, path in zip(links.tolist(), board.tree.paths_at(links), strict=True)
        if _is_made(path, board.tree.entry(position).target or "")
    ]
    dangling = [(position, path) for position, path in made if not _follow(board, position, path)]
    leaders = _leaders(root, board) if dangling else {}
    for position, path in dangling:
        # a manual page that the image leaves out, of a program that is there
        if (leader := leaders.get(_alternative(path, board.tree.entry(position).target or ""))) is not None:
            _follow(board, position, ALTERNATIVES + leader)
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


def _alternative(path: str, target: str) -> str:
    """Return the name of the alternative of a link in /etc/alternatives or to it."""
    in_alternatives = path.removeprefix("usr/").startswith(ALTERNATIVES)
    return (path if in_alternatives else target).rpartition("/")[2]


def _leaders(root: Root, board: Board) -> dict[str, str]:
    """Return the names of alternatives that follow another one -> the name of that."""
    found: dict[str, str] = {}
    for directory in _ALL_RECORDS:
        for path in board.paths.at(
            np.array(board.tree.below(directory.rstrip("/"))[:_MOST_RECORDS], np.intp)
        ):
            with suppress(RootfsError):
                followers = parse_followers(root.read(path, _MOST_RECORD))
                found |= dict.fromkeys(followers, path.removeprefix(directory))
    return found


def parse_followers(record: bytes) -> list[str]:
    """Return the names of the alternatives that follow the one of a record. Pure.

    Both tools write lines: the mode, the link, name and link of each follower, and an empty line.
    """
    head = record.decode("utf-8", "surrogateescape").partition("\n\n")[0]
    return head.split("\n")[2::2]


def _follow(board: Board, position: int, path: str) -> bool:
    """Give a path to the owner of the file (or empty directory) to which another path leads.

    Returns:
        False if that does not exist.
    """

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
        return False
    if target is None:
        return False
    if not board.inner[target] and board.leader[target] != position:
        board.owner_from[position] = int(board.leader[target])
    return True
