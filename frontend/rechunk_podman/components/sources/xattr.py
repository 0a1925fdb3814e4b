"""Components that the image's author names with extended attributes.

user.component applies to everything below a directory; the nearest one wins. user.update-interval (days, or a
word) applies to the component that owns the path, whichever source claimed it. user.mtime=keep keeps the
mtime of a file, or of all files below a directory.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.components.intervals import INTERVAL_HINT, days_of
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import ROOT, Entry, Kind
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "xattr"
rule = "the attribute user.component of the path, or of a directory above it, names the component"

COMPONENT = "user.component"
INTERVAL = "user.update-interval"
MTIME = "user.mtime"

_PADDING = "\0 \t\r\n"
"""Characters that shells and C programs leave around a value."""


def claim(root: Root, board: Board) -> None:
    """Claim the paths that have or inherit user.component.

    Raises:
        RootfsError: a value makes no sense; two paths give one component different intervals.
    """
    tree = board.tree
    attributed = np.flatnonzero(board.attributed).tolist()
    marked = {position for position in attributed if _is_marked(tree.entry(position))}
    if not marked and not _is_marked(tree.root):
        return
    # position of a directory -> the marks that its entries inherit
    inherited = {ROOT: _marks(root, board, "", tree.root, _NO_MARKS)}
    claims: dict[int, list[int]] = {}
    for position, (parent, kind) in enumerate(zip(tree.parent.tolist(), board.kind.tolist(), strict=True)):
        marks = inherited.get(parent, _NO_MARKS)
        if position in marked:
            marks = _marks(root, board, board.paths[position], tree.entry(position), marks)
        if marks.number is not None:
            claims.setdefault(marks.number, []).append(position)
        if marks.keep and kind == Kind.FILE:
            board.keep[board.leader[position]] = True
        if kind == Kind.DIRECTORY and marks != _NO_MARKS:
            inherited[position] = marks
    for number, positions in claims.items():
        board.claim_all(np.array(positions, np.intp), number)


class _Marks(NamedTuple):
    """The marks of a path by its own attributes and those of the directories above it.

    number: of the component.
    keep: True if the mtime is kept.
    """

    number: int | None = None
    keep: bool = False


_NO_MARKS = _Marks()


def _is_marked(entry: Entry) -> bool:
    return any(key in (COMPONENT, INTERVAL, MTIME) for key, _ in entry.xattrs)


def _marks(root: Root, board: Board, path: str, entry: Entry, inherited: _Marks) -> _Marks:
    """Return the marks of a path: the inherited ones, overridden by its own attributes."""
    number, keep = inherited
    values = {key: value for key, value in entry.xattrs if key in (COMPONENT, INTERVAL, MTIME)}
    if COMPONENT in values:
        number = board.component(name, component_name(values[COMPONENT], root.show(path)))
    if MTIME in values:
        if _text(values[MTIME]) != "keep":
            log.warning("%s: %s is not 'keep', and ignored", root.show(path), MTIME)
        keep = _text(values[MTIME]) == "keep"
    if INTERVAL in values:
        days = parse_interval(values[INTERVAL], root.show(path))
        position = board.position.get(path, ROOT)
        if number is not None:
            board.drafts[number].set_interval(days, path)
        elif position != ROOT and not board.inner[position]:
            board.intervals[position] = days
        else:
            log.warning("%s: %s without %s is ignored", root.show(path), INTERVAL, COMPONENT)
    return _Marks(number, keep)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace").strip(_PADDING)


def component_name(value: bytes, shown: str) -> str:
    """Return the name in a value of user.component; `shown` is the path, for the message.

    Raises:
        RootfsError: the name is empty, or not printable UTF-8.
    """
    try:
        text = value.decode().strip(_PADDING)
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise RootfsError(
            f"{shown}: {COMPONENT} is not a name: {value!r}",
            hint=f"give it a name in printable UTF-8, or remove it: setfattr -x {COMPONENT}",
        )
    return text


def parse_interval(value: bytes, shown: str) -> float:
    """Return the days in a value of user.update-interval; `shown` is the path, for the message.

    Raises:
        RootfsError: the value is neither a positive number nor a known word.
    """
    days = days_of(_text(value))
    if days is None:
        raise RootfsError(f"{shown}: {INTERVAL} is not an interval: {value!r}", hint=INTERVAL_HINT)
    return days
