"""Explain why a path is in its component: the source, the rule and the records that decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rechunk_podman.components.assign import ROOT_ID, SOURCES, claim_all, pieces
from rechunk_podman.components.board import NO_RULES, NOBODY, Board, Rules, Source
from rechunk_podman.components.preload import Databases
from rechunk_podman.components.sources import xattr
from rechunk_podman.errors import UsageError
from rechunk_podman.model import ROOT, Tree
from rechunk_podman.rootfs.root import Root


@dataclass(frozen=True, slots=True)
class Why:
    """The reason why a path is in its component.

    path: canonical.
    component: its id; "" for a directory that is not empty, which no component owns.
    rule: in words.
    records: the records that decided, the outermost first: a file or database, a group or package, …
    follows: other paths that decide for this one: the first name of a hard link, the .py of byte code.
    package: id of the component whose package describes the file; "" if none does.
    part: the name of the part of the component that holds it; "" if the component has no parts.
    """

    path: str
    component: str
    rule: str
    records: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    package: str = ""
    part: str = ""


class WatchingBoard(Board):
    """A Board that keeps by which rule and records the watched path got its owner."""

    def __init__(self, tree: Tree, databases: Databases, rules: Rules, watched: int) -> None:
        super().__init__(tree, databases, rules)
        self.watched = watched
        self.decided: tuple[str, tuple[object, ...]] = ("", ())
        self._said: tuple[str, tuple[object, ...]] = ("", ())
        self._owner = NOBODY

    def because(self, rule: str, *record: object) -> None:
        """Keep what was said before the owner of the watched path changed."""
        owner = int(self.owner[self.watched])
        if owner != self._owner:
            self._owner, self.decided = owner, self._said
        self._said = (rule, record)


def explain(
    root: Root,
    tree: Tree,
    path: str,
    rules: Rules = NO_RULES,
    databases: Databases | None = None,
    sources: Sequence[Source] = SOURCES,
) -> Why:
    """Return why a path is in its component.

    Raises:
        UsageError: there is no such path.
        RechunkError: as assign().
    """
    if not path.startswith("/") and not path.strip():
        raise UsageError("--why takes a path, and not an empty text")
    if not path.strip("/"):
        return Why("", str(ROOT_ID), "every image has the root directory, in a component of its own")
    found = Board(tree, Databases(root)).canonical(path)
    position = None if not found else tree.position.get(found)
    if found is None or position is None:
        raise UsageError(f"there is no {path}", hint="give the path of a file as it is in the image")
    follows: list[str] = []
    seen = {position}
    while True:
        databases = databases or Databases(root)
        board = WatchingBoard(tree, databases, rules, int(Board(tree, databases).leader[position]))
        claim_all(root, board, sources)
        board.because("")
        if board.watched != position:
            follows.append(tree.paths[board.watched])
        other = board.owner_from.get(board.watched)
        if other is None or other in seen:
            break
        # its owner is that of another path: ask again
        seen.add(other)
        follows.append(tree.paths[other])
        position, databases = other, None
    if board.inner[board.watched]:
        return Why(found, "", "the directory is not empty: every layer repeats the directories that it needs")
    return _why(board, found, follows)


def _why(board: WatchingBoard, path: str, follows: Sequence[str]) -> Why:
    owner = int(board.owner[board.watched])
    rule, record = board.decided
    records = [str(item) for item in record if item != ""]
    ident = board.drafts[owner].id
    if ident.source == xattr.name:
        records.append(f"user.component of /{_marked(board)}")
    for number, home in board.moved_to.items():
        if home == owner and not records:
            records.append(f"the group has all of {board.drafts[number].id}")
    describing = int(board.described_by[board.watched])
    package = "" if describing == NOBODY else str(board.drafts[describing].id)
    own = np.flatnonzero((board.owner == owner) & ~board.inner)
    position = board.position[path]
    part = next((piece.name for piece in pieces(board, own) if position in piece.positions), "")
    return Why(path, str(ident), rule, tuple(records), tuple(follows), package, part)


def _marked(board: Board) -> str:
    """Return the path whose attribute names the component of the watched path."""
    position = board.watched
    while position != ROOT:
        if any(key == xattr.COMPONENT for key, _ in board.tree.entry(position).xattrs):
            return board.paths[position]
        position = int(board.tree.parent[position])
    return ""
