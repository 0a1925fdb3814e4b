"""The values that the stages hand to each other: Entry, Tree, Component, Plan.

Paths are relative to the root filesystem: no leading slash, components joined by one `/`, the root
itself is the empty string; bytes that are not UTF-8 travel as surrogates (`surrogateescape`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter
from typing import NamedTuple


class Kind(IntEnum):
    """What an Entry is. Sockets have no kind: no image can hold one."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    FIFO = 3
    CHAR = 4
    BLOCK = 5


class Entry(NamedTuple):
    """One path of a root filesystem, as lstat(2) and listxattr(2) tell it.

    mode: permission bits alone (07777). size: bytes, of a regular file (0 otherwise).
    mtime: epoch seconds, floored. rdev: (major, minor) of a device.
    target: of a symlink, unresolved. xattrs: sorted by name, values raw.
    `nlink` proves nothing (overlay and vfs count differently): hard links are found by (dev, ino).
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    dev: int
    ino: int
    nlink: int
    target: str | None
    rdev: tuple[int, int] | None
    xattrs: tuple[tuple[str, bytes], ...]


class Tree:
    """Every path of a root filesystem once, parents before children, siblings in byte order.

    Iteration gives paths in the byte order of the whole path (so `a-b` before `a/b`; a directory
    always comes before what it holds). The root itself is in `root`, never among the paths.

    paths, entries: all of them, in that order. links: path of a hard link -> the first path of its group.

    Args:
        root: the Entry of `/`.
        entries: path -> Entry, in any order.
    """

    __slots__ = ("_entries", "entries", "links", "paths", "root")

    def __init__(self, root: Entry, entries: Mapping[str, Entry]) -> None:
        self.root = root
        self._entries = dict(entries)
        # Strings sort faster, and need no keys, but only ASCII ones sort like their bytes.
        self.paths = sorted(entries, key=None if all(map(str.isascii, entries)) else path_key)
        self.entries = list(map(self._entries.__getitem__, self.paths))
        self.links = _hard_links(self.paths, self.entries)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def get(self, path: str) -> Entry | None:
        """The Entry at `path`, or None."""
        return self._entries.get(path)

    def below(self, directory: str) -> range:
        """The positions, in `paths` and `entries`, of everything below a directory ("": of all)."""
        if not directory:
            return range(len(self.paths))
        # the byte after a slash is 0
        first = bisect_left(self.paths, path_key(directory) + b"/", key=path_key)
        return range(first, bisect_left(self.paths, path_key(directory) + b"0", first, key=path_key))

    def items(self) -> Iterable[tuple[str, Entry]]:
        """(path, Entry) in the order of iteration."""
        return zip(self.paths, self.entries, strict=True)


def path_key(path: str) -> bytes:
    """The bytes of a path, by which paths are ordered everywhere."""
    return path.encode("utf-8", "surrogateescape")


def _hard_links(paths: Sequence[str], entries: Sequence[Entry]) -> dict[str, str]:
    """Path of a hard link -> the first path (in order) of its group, which is not among the keys."""
    inodes = list(map(itemgetter(Entry._fields.index("ino")), entries))
    # inode numbers first: few paths are worth a closer look
    several = {ino for ino, count in Counter(inodes).items() if count > 1}
    first: dict[tuple[int, int], str] = {}
    links: dict[str, str] = {}
    for place in [place for place, ino in enumerate(inodes) if ino in several] if several else ():
        path, entry = paths[place], entries[place]
        if entry.kind is not Kind.DIRECTORY:
            leader = first.setdefault((entry.dev, entry.ino), path)
            if leader is not path:
                links[path] = leader
    return links


class ComponentId(NamedTuple):
    """`source/name`: which module found the component, and what it calls it."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ComponentId:
        """The reverse of str(): the source is what stands before the first slash.

        Raises:
            ValueError: no slash, or an empty half.
        """
        source, slash, name = text.partition("/")
        if not (source and slash and name):
            raise ValueError(f"not a component id: {text!r}")
        return cls(source, name)


@dataclass(frozen=True, slots=True)
class Component:
    """Files that change together. Planning reads everything but `paths`.

    paths: in Tree order, without the ancestor directories it shares with others.
    size: bytes, of all its tar entries (headers and padding counted).
    fingerprint: 8 bytes, of everything its tar entries will hold; serves planning alone.
    version: as its database writes it, or "".
    changes: epoch seconds at which it is known to have changed upstream (changelogs), newest first.
    interval: days between updates, where its owner said so (user.update-interval).
    mtime_clamp: epoch seconds, the build time of its package; None where there is none.
    """

    id: ComponentId
    size: int
    fingerprint: bytes
    paths: tuple[str, ...] = ()
    version: str = ""
    changes: tuple[int, ...] = ()
    interval: float | None = None
    mtime_clamp: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer to be: its components, and what the plan knows of it.

    diff_id: where the layer is expected to be the one of the previous image ("sha256:…"), else None.
    rate: expected share of updates in which it changes, 0..1.
    fee: bytes per update that opening this (clean) layer of the previous image costs, 0.0 otherwise.
    """

    components: tuple[ComponentId, ...]
    diff_id: str | None = None
    rate: float = 0.0
    fee: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of layers, bottom first: every component in exactly one, none empty."""

    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...] = field(default=())
