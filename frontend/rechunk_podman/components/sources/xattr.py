"""Components that the image's author names: extended attributes user.component and user.update-interval.

user.component holds for everything below a directory; the nearest wins. user.update-interval (days, or a
word) is said of the component that the path belongs to, whoever found it. user.mtime=keep keeps a file's
time, and those of all files below a directory.
"""

from __future__ import annotations

import logging
import math

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Entry, Kind
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "xattr"

COMPONENT = "user.component"
INTERVAL = "user.update-interval"
MTIME = "user.mtime"

_PADDING = "\0 \t\r\n"
"""What shells and C programs leave around a value."""

INTERVALS = {
    "daily": 1.0,
    "weekly": 7.0,
    "biweekly": 14.0,
    "monthly": 30.0,
    "quarterly": 91.0,
    "yearly": 365.0,
}
"""Days."""


def claim(root: Root, board: Board) -> None:
    """Claims what carries or inherits user.component.

    Raises:
        RootfsError: a value makes no sense; two paths say different intervals of one component.
    """
    attributed = np.flatnonzero(board.columns.attributed).tolist()
    marked = {board.paths[position] for position in attributed if _is_marked(board.entry(position))}
    if not marked and not _is_marked(board.tree.root):
        return
    # directory -> what it hands down: (group, whether times are kept)
    handed = {"": _marks(root, board, "", board.tree.root, (None, False))}
    for position, (path, entry) in enumerate(board.tree.items()):
        marks = handed.get(path.rpartition("/")[0], (None, False))
        if path in marked:
            marks = _marks(root, board, path, entry, marks)
        group, keep = marks
        if group is not None:
            board.claim(position, group)
        if keep and entry.kind is Kind.FILE:
            board.keep[board.leader.get(position, position)] = 1
        if entry.kind is Kind.DIRECTORY and (keep or group is not None):
            handed[path] = marks


def _is_marked(entry: Entry) -> bool:
    return any(key in (COMPONENT, INTERVAL, MTIME) for key, _ in entry.xattrs)


def _marks(
    root: Root, board: Board, path: str, entry: Entry, inherited: tuple[int | None, bool]
) -> tuple[int | None, bool]:
    """What a path's own attributes make of what it inherits."""
    group, keep = inherited
    values = {key: value for key, value in entry.xattrs if key in (COMPONENT, INTERVAL, MTIME)}
    if COMPONENT in values:
        group = board.group(name, component_name(values[COMPONENT], root.show(path)))
    if MTIME in values:
        if _text(values[MTIME]) != "keep":
            log.warning("%s: %s is not 'keep', and ignored", root.show(path), MTIME)
        keep = _text(values[MTIME]) == "keep"
    if INTERVAL in values:
        days = parse_interval(values[INTERVAL], root.show(path))
        position = board.position.get(path, -1)
        if group is not None:
            board.groups[group].every(days, path)
        elif position >= 0 and not board.inner[position]:
            board.intervals[position] = days
        else:
            log.warning("%s: %s without %s is ignored", root.show(path), INTERVAL, COMPONENT)
    return group, keep


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace").strip(_PADDING)


def component_name(value: bytes, shown: str) -> str:
    """The name that a user.component gives; `shown` is the path, for the message.

    Raises:
        RootfsError: it is empty, or not printable UTF-8.
    """
    try:
        text = value.decode().strip(_PADDING)
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise RootfsError(
            f"{shown}: {COMPONENT} is no name: {value!r}",
            hint=f"give it a name in printable UTF-8, or remove it: setfattr -x {COMPONENT}",
        )
    return text


def parse_interval(value: bytes, shown: str) -> float:
    """The days that a user.update-interval means; `shown` is the path, for the message.

    Raises:
        RootfsError: neither a positive number nor a known word.
    """
    text = _text(value).lower()
    days = INTERVALS.get(text)
    if days is None:
        try:
            days = float(text)
        except ValueError:
            days = 0.0
    if not 0 < days < math.inf:
        raise RootfsError(
            f"{shown}: {INTERVAL} is no interval: {value!r}",
            hint=f"a number of days, or one of {', '.join(INTERVALS)}",
        )
    return days
