"""Components that a map names: files of the user (--map), then one in the root filesystem.

The record of a path itself decides, else that of the nearest directory above it. A plain path wins over a
glob, and an earlier record over a later one. What one map names, a later map does not.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NOBODY, Board
from rechunk_podman.components.globs import Comparisons, Glob, path_glob
from rechunk_podman.components.map_file import Broken, Item, Record, form_of, parse
from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.model import Kind
from rechunk_podman.pathtable import path_key
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "map"
rule = "a record of a map names the path, or a directory above it"

IN_IMAGE = ("usr/share/rechunk/map.tsv", "usr/share/rechunk/map.csv", "usr/share/rechunk/map.json")
"""The paths of a map in the root filesystem; the first that is there is read."""

MOST_COMPONENTS = 20_000
"""Components that the maps may name together: each costs the planner and the Ledger."""

MOST_GLOBS = 20_000
"""Globs of one map."""

MOST_WARNINGS = 20

_AT_ONCE = 4096


def claim(root: Root, board: Board) -> None:
    """Claim the paths that maps name.

    Raises:
        UsageError: a map of the user cannot be read.
    """
    for path in board.rules.maps:
        try:
            stream = open(path, encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"cannot read the map {path}", context=[str(error)]) from error
        with stream:
            _claim(board, path, stream)
    for path in IN_IMAGE:
        if path in board.position:
            try:
                descriptor = root.open(path)
            except RootfsError as error:
                log.warning("%s: the map is left out: %s", root.show(path), error.message)
                return
            with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                _claim(board, f"/{path}", stream)
            return


def _claim(board: Board, shown: str, stream: TextIO) -> None:
    found = _Found(board, shown)
    try:
        found.read(parse(stream, form_of(shown)))
    except OSError as error:
        raise UsageError(f"cannot read the map {shown}", context=[os.strerror(error.errno or 0)]) from error
    found.match_globs()
    found.inherit()
    found.claim()
    log.info("%s: %d records, of which %d name nothing here", shown, found.records, found.missed)


@dataclass(frozen=True, slots=True)
class _Pattern:
    glob: Glob
    record: Record
    number: int


class _Found:
    """The records of one map that name paths of the Tree.

    number: of the component, for each position; NOBODY if no record names the path.
    record: of the record that decided.
    """

    def __init__(self, board: Board, shown: str) -> None:
        self.board = board
        self.shown = shown
        self.records = self.missed = 0
        self.number = np.full(len(board.paths), NOBODY, np.int32)
        self.record: npt.NDArray[np.int32] = np.zeros(len(board.paths), np.int32)
        self._globs: list[_Pattern] = []
        self._warnings = 0

    def _warn(self, number: int, reason: str) -> None:
        self._warnings += 1
        if self._warnings <= MOST_WARNINGS:
            log.warning("%s: record %d is left out: %s", self.shown, number, reason)
        elif self._warnings == MOST_WARNINGS + 1:
            log.warning("%s: there are more warnings like these", self.shown)

    def read(self, items: Iterable[Item]) -> None:
        """Note the plain paths, and keep the globs."""
        pending: list[Record] = []
        for item in items:
            if isinstance(item, Broken):
                self._warn(item.number, item.reason)
                continue
            pending.append(item)
            if len(pending) == _AT_ONCE:
                self._find(pending)
                pending.clear()
        self._find(pending)

    def _find(self, records: list[Record]) -> None:
        board = self.board
        self.records += len(records)
        names = [record.path.strip("/") for record in records]
        heads = [name.rpartition("/")[0] for name in names]
        found, above = (
            board.paths.find_joined(path_key("".join([f"{path}\0" for path in paths]))).tolist()
            for paths in (names, heads)
        )
        for record, place, head in zip(records, found, above, strict=True):
            position: int | None = place
            if place == NOBODY:
                glob = path_glob(record.path)
                if not glob.is_plain:
                    self._keep(glob, record)
                    continue
                # a symlink among the directories is followed; where the directory is there, there is none
                is_there = head != NOBODY and board.kind[head] == Kind.DIRECTORY
                canonical = None if is_there else board.canonical(record.path)
                position = board.position.get(canonical or "")
                if position is None:
                    self.missed += 1
                    continue
            number = self._component(record)
            if number is not None and self.number[position] == NOBODY:
                self.number[position] = number
                self.record[position] = record.number

    def _keep(self, glob: Glob, item: Record) -> None:
        if len(self._globs) >= MOST_GLOBS:
            self._warn(item.number, f"the map has more than {MOST_GLOBS} globs")
            return
        number = self._component(item)
        if number is not None:
            self._globs.append(_Pattern(glob, item, number))

    def _component(self, item: Record) -> int | None:
        """Return the number of the record's component; None if there are too many."""
        board = self.board
        known = len(board.drafts)
        if known >= MOST_COMPONENTS and not board.has_component(name, item.component):
            self._warn(item.number, f"the maps name more than {MOST_COMPONENTS} components")
            return None
        number = board.component(name, item.component)
        draft = board.drafts[number]
        if item.interval is not None:
            if draft.interval is None:
                draft.interval = item.interval
            elif draft.interval != item.interval:
                self._warn(
                    item.number,
                    f"an earlier record gives {item.component} an interval of {draft.interval:g} days",
                )
        return number

    def match_globs(self) -> None:
        """Note the paths that globs match, and no plain path names."""
        paths = self.board.paths
        comparisons = Comparisons()
        for pattern in self._globs:
            if not comparisons.are_left(pattern.glob.cost(paths)):
                self._warn(
                    pattern.record.number,
                    f"the globs take more than {comparisons.most} comparisons: begin them with a directory",
                )
                return
            positions = np.fromiter(pattern.glob.find(paths), np.intp)
            if not len(positions):
                self.missed += 1
            positions = positions[self.number[positions] == NOBODY]
            self.number[positions] = pattern.number
            self.record[positions] = pattern.record.number

    def inherit(self) -> None:
        """Give each path that nothing names the record of its directory."""
        numbers, records = self.number.tolist(), self.record.tolist()
        # directories come before their content
        for position, parent in enumerate(self.board.tree.parent.tolist()):
            if numbers[position] == NOBODY and parent >= 0:
                numbers[position], records[position] = numbers[parent], records[parent]
        self.number[:], self.record[:] = numbers, records

    def claim(self) -> None:
        """Claim the paths that no earlier source or map owns."""
        board = self.board
        free = np.flatnonzero((self.number != NOBODY) & (board.owner[board.leader] == NOBODY))
        if not len(free):
            return
        numbers = self.number[free]
        order = np.argsort(numbers, kind="stable")
        different, starts = np.unique(numbers[order], return_index=True)
        for number, positions in zip(different.tolist(), np.split(free[order], starts[1:]), strict=True):
            # of the many records only that of a watched path is worth a look
            record = int(self.record[board.watched]) if board.watched in positions else 0
            board.because(rule, self.shown, f"record {record}")
            board.claim_all(positions, number)
