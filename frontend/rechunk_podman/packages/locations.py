"""Locations of a package manager's database and of its other files in a root filesystem. Pure.

Paths and globs have no leading slash. In a glob `*` matches any characters but a slash, `**` any characters,
and `**/` at the beginning also nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rechunk_podman.pathtable import PathTable, Positions, distinct, path_key
from rechunk_podman.patterns import compile_later

_WILDCARD = compile_later(r"(\*\*/|\*\*|\*)")
_EXPRESSIONS = {"**/": "(?:.*/)?", "**": ".+", "*": "[^/]*"}


@dataclass(frozen=True, slots=True)
class Locations:
    """The locations of one package manager; fields that do not apply are empty.

    directories: each may hold the whole database or be a symlink to another one, the best first.
    databases: names of files in a directory, each of which is a whole database.
    records: globs, below a directory, of the other files that a reader needs for names and versions.
    named: globs of files and directories that are records by their names alone.
    details: globs, anywhere, of the other files that a reader needs for all else.
    scattered: globs of records beside the files that they describe, anywhere (`**/*.dist-info/METADATA`).
    embedded: globs of files that hold the record of their package themselves (`**/*.jar`). Only those of no
        package of an earlier ecosystem are read, and only to find components.
    is_program: True if `embedded` means executable files alone.
    copies: directories that hold a copy of the database for another tool.
    state: directories and files in which front ends record every transaction.
    journals: globs of transaction journals, locks and backups, which no image needs.
    caches: globs of downloaded packages and package lists, which no image needs.
    is_exclusive: True if the database owns every path below `directories`, `copies` and `state`, even paths
        that packages list.
    """

    directories: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    scattered: tuple[str, ...] = ()
    embedded: tuple[str, ...] = ()
    is_program: bool = False
    copies: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    is_exclusive: bool = False

    def files(self) -> Iterator[str]:
        """Yield the globs of all files that load() reads for names and versions."""
        for directory in self.directories:
            for name in (*self.databases, *self.records):
                yield f"{directory}/{name}"
        yield from self.scattered

    def all_files(self) -> Iterator[str]:
        """Yield the globs of all files that load() reads, but for those of `embedded`."""
        yield from (f"{directory}/**" for directory in self.directories)
        yield from self.details
        yield from self.scattered

    def scattered_in(self, paths: Sequence[str]) -> list[str]:
        """Return the paths that match `scattered`, in their order."""
        return _matches(self.scattered, paths)

    def embedded_in(self, paths: PathTable, positions: Positions) -> list[str]:
        """Return the paths at the positions that match `embedded`, in their order."""
        return _matches(self.embedded, paths, positions)


def _matches(globs: Sequence[str], paths: Sequence[str], positions: Positions | None = None) -> list[str]:
    if not globs:
        return []
    # the fixed ends of the globs leave few paths to match
    ends = tuple(glob.rpartition("*")[2] for glob in globs)
    if isinstance(paths, PathTable) and all(ends):
        found = distinct(np.concatenate([paths.ending(path_key(end)) for end in ends]))
        paths = paths.at(found if positions is None else np.intersect1d(found, positions, assume_unique=True))
    elif isinstance(paths, PathTable) and positions is not None:
        paths = paths.at(positions)
    paths = [path for path in paths if path.endswith(ends)]
    match = matching(globs).match if paths else None
    return [path for path in paths if match and match(path)]


def matching(globs: Iterable[str]) -> re.Pattern[str]:
    """Return the regular expression whose match() accepts the paths that match any of the globs."""
    found = [
        "".join(_EXPRESSIONS.get(part) or re.escape(part) for part in _WILDCARD.split(glob)) for glob in globs
    ]
    return compile_later(rf"(?:{'|'.join(found) or '(?!)'})\Z", re.DOTALL)
