"""Layers -> the root filesystem that a client makes of them, with the digest of every file's content.

Source: image-spec layer.md ("Representing Changes", "Whiteouts", "Opaque Whiteout").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.tar import Content, Member, members

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."


Look = Callable[[int, Member, Content], Any]
"""Called with the number of a layer (from 0), a regular file in it and its content, to read any of it."""


@dataclass(frozen=True, slots=True)
class TreeDigest:
    """A tree, and the digests of its files. sha256: path of each regular file -> 32 bytes.

    looked: path -> what `look` returned for the file there, where that was not None (read_tree()).

    In one that comes from an image, Entry.dev is 0, Entry.ino numbers the hard-link groups, and the root
    and the directories that no layer holds are 0755 0:0 with the mtime 0.
    """

    name: str
    tree: Tree
    sha256: Mapping[str, bytes]
    looked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Inode:
    """The content that the hard links of a file share. layer: the one that made it."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: str | None
    rdev: tuple[int, int] | None
    xattrs: tuple[tuple[str, bytes], ...]
    layer: int
    number: int
    links: int = 0
    sha256: bytes | None = None
    looked: Any = None


def read_tree(image: ImageSource, *, look: Look | None = None) -> TreeDigest:
    """Read every layer once, from the bottom, and apply it to those below. Memory: the metadata alone.

    Args:
        look: sees every regular file of every layer, those that upper layers replace or delete, too.

    Raises:
        ImageError: a layer is damaged, or holds what no client can apply (a hard link to nothing).
    """
    overlay = _Overlay(look)
    for index in range(len(image.record.layers)):
        name = f"{image.name}: layer {index + 1}"
        with image.layer(index) as stream:
            for member, content in members(stream, name):
                overlay.apply(index, member, content, name)
    return overlay.finish(image.name)


class _Overlay:
    def __init__(self, look: Look | None = None) -> None:
        self.look = look
        self.inodes: dict[str, _Inode] = {}
        self.children: dict[str, set[str]] = {"": set()}
        self.count = 0
        self.inodes[""] = self._directory(-1)

    def apply(self, layer: int, member: Member, content: Content | None, name: str) -> None:
        path = member.path
        parent, _, base = path.rpartition("/")
        if base.startswith(WHITEOUT):
            self._whiteout(layer, parent, base, name)
            return
        if not path and member.kind is not Kind.DIRECTORY:
            raise ImageError(f"{name}: its root is not a directory")
        if path:
            self._parents(layer, parent)
        if member.link is not None:
            self._link(layer, member, name)
            return
        old = self.inodes.get(path)
        inode = self._inode(layer, member)
        if content is not None:
            if self.look is not None:
                inode.looked = self.look(layer, member, content)
            inode.sha256 = content.sha256()
        if old is not None and path and not (old.kind is member.kind is Kind.DIRECTORY):
            self._remove(path)
        self._add(path, inode)

    def _link(self, layer: int, member: Member, name: str) -> None:
        inode = self.inodes.get(member.link or "")
        if inode is None or inode.kind is Kind.DIRECTORY:
            raise ImageError(
                f"{name}: {member.name!r} is a hard link to {member.link!r}, which is no file before it",
                hint="no client can unpack this layer",
            )
        if member.path == member.link:
            return
        # The client sets what the link's own entry says on the file that both names share.
        inode.mode, inode.uid, inode.gid, inode.mtime = member.mode, member.uid, member.gid, member.mtime
        inode.xattrs = tuple(sorted((dict(inode.xattrs) | dict(member.xattrs)).items()))
        self._remove(member.path)
        self._add(member.path, inode)

    def _whiteout(self, layer: int, parent: str, base: str, name: str) -> None:
        if base == OPAQUE:
            for child in sorted(self.children.get(parent, ())):
                self._remove_older(layer, f"{parent}/{child}" if parent else child)
        elif base.startswith(_META):
            return  # aufs kept its books in such files
        elif base == WHITEOUT:
            raise ImageError(f"{name}: a whiteout of nothing in {parent!r}")
        else:
            child = base[len(WHITEOUT) :]
            self._remove_older(layer, f"{parent}/{child}" if parent else child)

    def _below(self, path: str) -> list[str]:
        """Return the path and all below it, parents first."""
        found = [path]
        for directory in found:
            found += [f"{directory}/{child}" for child in self.children.get(directory, ())]
        return found

    def _remove_older(self, layer: int, path: str) -> None:
        """Remove what lower layers put at and below a path; a whiteout says nothing of its own layer."""
        for found in reversed(self._below(path)):
            inode = self.inodes.get(found)
            if inode is not None and inode.layer < layer and not self.children.get(found):
                self._remove(found)

    def _remove(self, path: str) -> None:
        """Remove a path and all below it, if there is any."""
        if path not in self.inodes:
            return
        for found in self._below(path):
            self.inodes.pop(found).links -= 1
            self.children.pop(found, None)
        parent, _, base = path.rpartition("/")
        self.children[parent].discard(base)

    def _add(self, path: str, inode: _Inode) -> None:
        self.inodes[path] = inode
        inode.links += 1
        if path:
            parent, _, base = path.rpartition("/")
            self.children[parent].add(base)
        if inode.kind is Kind.DIRECTORY:
            self.children.setdefault(path, set())

    def _parents(self, layer: int, path: str) -> None:
        """Make the directories that a tar left out, as clients do; also in place of what is no directory."""
        missing = []
        while (inode := self.inodes.get(path)) is None or inode.kind is not Kind.DIRECTORY:
            missing.append(path)
            path = path.rpartition("/")[0]
        for directory in reversed(missing):
            self._remove(directory)
            self._add(directory, self._directory(layer))

    def _directory(self, layer: int) -> _Inode:
        self.count += 1
        return _Inode(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, None, None, (), layer, self.count)

    def _inode(self, layer: int, member: Member) -> _Inode:
        self.count += 1
        return _Inode(
            member.kind,
            member.mode,
            member.uid,
            member.gid,
            member.size,
            member.mtime,
            member.target,
            member.rdev,
            member.xattrs,
            layer,
            self.count,
        )

    def finish(self, name: str) -> TreeDigest:
        root = _entry(self.inodes.pop(""))
        entries = {path: _entry(inode) for path, inode in self.inodes.items()}
        hashes = {path: inode.sha256 for path, inode in self.inodes.items() if inode.sha256 is not None}
        looked = {path: inode.looked for path, inode in self.inodes.items() if inode.looked is not None}
        return TreeDigest(name, Tree(root, entries), hashes, looked)


def _entry(inode: _Inode) -> Entry:
    return Entry(
        inode.kind,
        inode.mode,
        inode.uid,
        inode.gid,
        inode.size,
        inode.mtime,
        0,
        inode.number,
        inode.links,
        inode.target,
        inode.rdev,
        inode.xattrs,
    )
