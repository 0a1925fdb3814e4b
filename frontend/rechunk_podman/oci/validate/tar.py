"""The rules by which every client unpacks the same files from a layer's tar.

Sources: image-spec layer.md; the differences between clients are in our docs, "The tar rules".
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.flatten import OPAQUE, WHITEOUT
from rechunk_podman.oci.read.tar import Member, members
from rechunk_podman.oci.validate.lower import LayerPaths, LowerLayers, hashes

_REFUSED = "podman refuses the layer"
SHOWN = 5
"""The number of problems of one kind in a layer that are reported one by one."""


class TarProblem(NamedTuple):
    """A problem like validate.image.Problem, without `where`."""

    code: str
    message: str
    strict: bool = True


def check_tar(stream: BinaryIO, name: str, below: LowerLayers | None = None) -> list[TarProblem]:
    """Read an uncompressed layer to its end; return its problems.

    Args:
        below: the layers below; it gets the paths of this layer, too.

    Raises:
        ImageError: the tar cannot be read to its end.
    """
    found: list[TarProblem] = []
    counts: Counter[str] = Counter()
    tail = _Tail(stream)
    below = below or LowerLayers()
    checker = _Checker()
    stream = io.BufferedReader(tail, 1 << 20)
    for problem in chain(checker.run(stream, name), checker.obstructed(below)):
        counts[problem.code] += 1
        if counts[problem.code] <= SHOWN:
            found.append(problem)
    below.keep(checker.paths())
    if tail.size % 512 or tail.last != bytes(1024):
        found.append(TarProblem("tar-end", "the tar does not end in two blocks of zeros"))
    for code, count in counts.items():
        if count > SHOWN:
            strict = all(problem.strict for problem in found if problem.code == code)
            found.append(TarProblem(code, f"and {count - SHOWN} more of this sort", strict))
    return found


class _Tail(io.RawIOBase):
    """A stream that records the size and the last two blocks of another stream."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.size = 0
        self.last = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._source.readinto(buffer) or 0)
        self.size += count
        self.last = (self.last + bytes(memoryview(buffer)[max(0, count - 1024) : count]))[-1024:]
        return count


class _Checker:
    def __init__(self) -> None:
        self.symlinks: set[str] = set()
        self.opaque: set[str] = set()
        self.directories = {""}
        self.files: dict[str, int] = {}
        self.whiteouts: set[str] = set()
        self.complained: set[str] = set()
        self.orphans: dict[str, str] = {}
        """Parent that is no directory of this layer so far -> the first entry in it, for messages."""
        self.globals: list[str] = []
        self.root_seen = False

    def run(self, stream: BinaryIO, name: str) -> Iterator[TarProblem]:
        for member, _ in members(stream, name, self.globals.append):
            if member.path:
                yield from self._member(member)
                continue
            if member.kind is not Kind.DIRECTORY or member.link is not None:
                raise ImageError(f"{name}: the root is not a directory")
            if self.root_seen:
                yield TarProblem("duplicate-path", f"it holds the root directory twice: {_REFUSED}", False)
            self.root_seen = True
        for path in self.globals:
            text = f"a global pax header ({path!r}): umoci refuses it, and other clients ignore its records"
            yield TarProblem("global-header", text, strict=False)

    def _member(self, member: Member) -> Iterator[TarProblem]:
        path, shown = member.path, repr(member.name)
        parent, _, base = path.rpartition("/")
        yield from _name(member, shown)
        if parent not in self.directories:
            self.orphans.setdefault(parent, shown)
        if base.startswith(".wh."):
            yield from self._whiteout(parent, base, shown)
            return
        if member.kind is Kind.CHAR and member.rdev == (0, 0):
            text = f"{shown} is a character device 0:0, which some clients take for a whiteout"
            yield TarProblem("whiteout", text, strict=False)
        if path in self.directories or path in self.files:
            yield TarProblem("duplicate-path", f"{shown} is there twice: {_REFUSED}", strict=False)
        if (path in self.whiteouts and member.kind is Kind.DIRECTORY) or parent in self.whiteouts:
            text = f"{shown} has a whiteout in the same layer: for some clients it does not hide lower layers"
            yield TarProblem("whiteout", text, strict=False)
        if parent in self.files:
            yield TarProblem("parent", f"{shown} lies below something that is no directory", strict=False)
        elif parent not in self.directories and parent not in self.complained:
            self.complained.add(parent)
            yield TarProblem("parent", f"{shown} has no directory before it")
        if member.mtime < 0:
            yield TarProblem("mtime", f"{shown} has a time before 1970, which some clients set to 1970")
        if member.link is not None:
            yield from self._link(member, shown)
        if member.kind is Kind.DIRECTORY:
            self.directories.add(path)
            self.files.pop(path, None)
            self.symlinks.discard(path)
        else:
            self.files[path] = _metadata(member)
            self.directories.discard(path)
            if member.kind is Kind.SYMLINK:
                self.symlinks.add(path)

    def obstructed(self, below: LowerLayers) -> Iterator[TarProblem]:
        """Yield the entries below something that is no directory in the layers below."""
        above = {parent: list(_ancestors(parent)) for parent in self.orphans}
        obstacles = below.obstacles({path for paths in above.values() for path in paths})
        for parent, paths in above.items():
            found = next((path for path in paths if path in obstacles), None)
            if found is None:
                continue
            what, others = ("a symlink", "follow it") if obstacles[found] else ("no directory", "refuse it")
            text = f"{self.orphans[parent]} lies below {found!r}, {what} of a lower layer"
            text += f": some clients replace it by a directory, some {others}"
            yield TarProblem("obstacle", text, strict=False)

    def paths(self) -> LayerPaths:
        """Return the paths that were read."""
        return LayerPaths(
            hashes(self.files),
            hashes(self.directories),
            frozenset(self.symlinks),
            frozenset(self.whiteouts),
            frozenset(self.opaque),
        )

    def _whiteout(self, parent: str, base: str, shown: str) -> Iterator[TarProblem]:
        yield TarProblem("whiteout", f"{shown} is a whiteout")
        if base == OPAQUE:
            self.opaque.add(parent)
            return
        path = f"{parent}/{base[len(WHITEOUT) :]}" if parent else base[len(WHITEOUT) :]
        self.whiteouts.add(path)
        if base == WHITEOUT or path in self.files or path in self.directories:
            text = (
                f"{shown} is a whiteout of nothing, or of what the same layer holds: some clients refuse it"
            )
            yield TarProblem("whiteout", text, strict=False)

    def _link(self, member: Member, shown: str) -> Iterator[TarProblem]:
        target = member.link or ""
        if target in self.directories:
            yield TarProblem("hard-link", f"{shown} is a hard link to a directory", strict=False)
        elif target not in self.files:
            text = f"{shown} is a hard link to {target!r}, which is not before it in this layer: {_REFUSED}"
            yield TarProblem("hard-link", text, strict=False)
        elif self.files[target] != _metadata(member):
            text = f"{shown} has another owner, mode, time or attributes than its target {target!r}"
            yield TarProblem("link-metadata", text)


def _ancestors(path: str) -> Iterator[str]:
    """Yield the path and its ancestors but the root, the deepest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _name(member: Member, shown: str) -> Iterator[TarProblem]:
    if member.name.startswith("/"):
        yield TarProblem("name", f"{shown} is an absolute path")
    if ".." in member.name.split("/"):
        text = f"{shown} has `..` in it: some clients resolve it, some refuse it"
        yield TarProblem("name", text, strict=False)


def _metadata(member: Member) -> int:
    # Only the hash is kept, since a layer may hold hundreds of thousands of files.
    return hash((member.mode, member.uid, member.gid, member.mtime, member.xattrs))
