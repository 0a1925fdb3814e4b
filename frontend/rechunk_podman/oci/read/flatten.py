"""The root filesystem that a client makes of layers, with the digest of every file's content.

Clients with an overlay unpack each layer into its own directory. An entry below a symlink of the same layer
follows the symlink; an entry below a symlink of a lower layer replaces the symlink. A directory that a layer
needs and leaves out is 0755 0:0 there, and so in the whole: its metadata in lower layers does not count.

Source: image-spec layer.md ("Representing Changes", "Whiteouts", "Opaque Whiteout"); containers/storage for
the symlinks and directories that are left out (pkg/archive/diff.go, UnpackLayer; drivers/overlay), tested by
tests/tools/test_tar_clients.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from rechunk_podman.errors import ImageError
from rechunk_podman.model import NUMBERS, Entry, Kind, Tree, path_key
from rechunk_podman.oci.read.tar import Member

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."
_MAX_LINKS = 40
"""The largest number of symlinks in one path, as in Linux (path_resolution(7))."""
_MAX_IMPLIED = 64 << 20
"""The largest number of characters in all paths of missing directories; real images have a few."""


class Digested(Protocol):
    """The content of a regular file, of which at least the digest is known."""

    def sha256(self) -> bytes | None:
        """Return the digest; None if nobody wants it."""


LayerReader = Callable[[Callable[[str], object]], Iterator[tuple[Member, Digested | None]]]
"""A function that yields the members of a layer, and calls its argument with the names of global pax headers,
as members() does."""


@dataclass(frozen=True, slots=True)
class TreeDigest:
    """A tree, and the digests of its files.

    sha256: path of each regular file whose digest was asked for -> 32 bytes.
    looked: path -> the result of `look` for the file (read_tree()), unless it was None.
    removed: paths that whiteouts delete in layers below (read_layer()); directories whose content an opaque
        whiteout hides, with a slash behind.
    size: bytes of the uncompressed tar (read_layer()).

    For a tree from an image, Entry.dev is 0, and Entry.ino numbers the hard-link groups. The root, if no
    layer holds it, and directories that their last layer leaves out are 0755 0:0 with the mtime 0.
    """

    name: str
    tree: Tree
    sha256: Mapping[str, bytes]
    looked: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    size: int = 0


@dataclass(slots=True)
class _Inode:
    """The content that the hard links of a file share. layer: the number of the layer that made it."""

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


_COLUMNS = {
    name: attrgetter({"ino": "number", "nlink": "links"}.get(name, name)) for name in NUMBERS if name != "dev"
}
"""A number of an entry -> a getter of its value in an _Inode; `dev` is 0."""
_more_of = attrgetter("target", "rdev", "xattrs")


def apply_layers(
    name: str, layers: Iterable[LayerReader], look: Callable[[int, Member, Any], Any] | None = None
) -> TreeDigest:
    """Apply layers to a tree, the bottom first.

    Args:
        name: of the image, for messages.
        look: as for read_tree(); it gets what the reader yields.

    Raises:
        ImageError: as read_tree().
    """
    overlay = Overlay(look)
    for index, reader in enumerate(layers):
        layer = f"{name}: layer {index + 1}"
        for member, content in reader(partial(overlay.apply_global, index, layer)):
            overlay.apply(index, member, content, layer)
    return overlay.finish(name)


class Overlay:
    """The tree of the layers that were applied so far.

    removed: the paths that whiteouts deleted, as in a TreeDigest.
    """

    def __init__(self, look: Callable[[int, Member, Any], Any] | None = None) -> None:
        self.look = look
        self.removed: list[str] = []
        self.inodes: dict[str, _Inode] = {}
        self.children: dict[str, set[str]] = {"": set()}
        self.count = 0
        self.implied = 0
        self.inodes[""] = self._directory(-1)

    def apply(self, layer: int, member: Member, content: Digested | None, name: str) -> None:
        path = member.path
        parent, _, base = path.rpartition("/")
        if parent and not self._is_directory(parent):
            parent = self._resolve(layer, parent, path, name)
            path = f"{parent}/{base}" if parent else base
            member = member._replace(path=path)
        if base.startswith(WHITEOUT):
            self._whiteout(layer, parent, base, name)
            return
        if not path and member.kind is not Kind.DIRECTORY:
            raise ImageError(f"{name}: its root is not a directory")
        if path:
            self._parents(layer, parent, name)
        if member.kind is Kind.CHAR and member.rdev == (0, 0):
            # A character device 0:0 is a whiteout in an overlay, which most clients use.
            self.removed.append(path)
            self._remove(path)
            return
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

    def apply_global(self, layer: int, name: str, path: str) -> None:
        """Apply the name of a global pax header as clients do (see members())."""
        parent, _, base = path.rpartition("/")
        if parent and not self._is_directory(parent):
            parent = self._resolve(layer, parent, path, name)
        if base.startswith(WHITEOUT):
            self._whiteout(layer, parent, base, name)
        else:
            self._parents(layer, parent, name)

    def _link(self, layer: int, member: Member, name: str) -> None:
        target = member.link or ""
        parent, _, base = target.rpartition("/")
        if parent and not self._is_directory(parent):
            parent = self._resolve(layer, parent, member.path, name)
            target = f"{parent}/{base}" if parent else base
        inode = self.inodes.get(target)
        if inode is None or inode.kind is Kind.DIRECTORY or member.path == target:
            raise ImageError(
                f"{name}: {member.name!r} is a hard link to {target!r}, which is no other file before it",
                hint="no client can unpack this layer",
            )
        # Clients apply the metadata of the link's entry to the file that both names share.
        inode.mode, inode.uid, inode.gid, inode.mtime = member.mode, member.uid, member.gid, member.mtime
        inode.xattrs = tuple(sorted((dict(inode.xattrs) | dict(member.xattrs)).items()))
        self._remove(member.path)
        self._add(member.path, inode)

    def _whiteout(self, layer: int, parent: str, base: str, name: str) -> None:
        if parent in self.inodes and not self._is_directory(parent):
            raise ImageError(f"{name}: {base!r} lies below {parent!r}, which is no directory")
        self._parents(layer, parent, name)
        if base == OPAQUE:
            self.removed.append(f"{parent}/")
            for child in sorted(self.children.get(parent, ())):
                self._remove_older(layer, f"{parent}/{child}" if parent else child)
        elif base.startswith(_META):
            return  # a file of aufs's own
        elif base == WHITEOUT:
            raise ImageError(f"{name}: a whiteout of nothing in {parent!r}")
        else:
            child = base[len(WHITEOUT) :]
            path = f"{parent}/{child}" if parent else child
            self.removed.append(path)
            self._remove_older(layer, path)

    def _below(self, path: str) -> list[str]:
        """Return the path and all paths below it, parents first."""
        found = [path]
        for directory in found:
            found += [f"{directory}/{child}" for child in self.children.get(directory, ())]
        return found

    def _remove_older(self, layer: int, path: str) -> None:
        """Remove entries of lower layers at and below a path; a whiteout does not affect its own layer."""
        for found in reversed(self._below(path)):
            inode = self.inodes.get(found)
            if inode is not None and inode.layer < layer and not self.children.get(found):
                self._remove(found)

    def _remove(self, path: str) -> None:
        """Remove a path, if it exists, and all paths below it."""
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

    def _is_directory(self, path: str) -> bool:
        inode = self.inodes.get(path)
        return inode is not None and inode.kind is Kind.DIRECTORY

    def _resolve(self, layer: int, path: str, shown: str, name: str) -> str:
        """Follow the symlinks of this layer in the path of a directory.

        Raises:
            ImageError: the path in this layer is not a directory, or a symlink to something else than a
                directory of this layer.
        """
        found, links = "", 0
        rest = [(part, False) for part in reversed(path.split("/"))]
        while rest:
            part, is_of_link = rest.pop()
            if part == "..":
                found = found.rpartition("/")[0]
                continue
            below = f"{found}/{part}" if found else part
            inode = self.inodes.get(below)
            own = inode is not None and inode.layer == layer
            if inode is not None and own and inode.kind is Kind.SYMLINK and links < _MAX_LINKS:
                links += 1
                target = inode.target or ""
                rest += [(word, True) for word in reversed(target.split("/")) if word not in ("", ".")]
                found = "" if target.startswith("/") else found
                continue
            is_directory = inode is not None and inode.kind is Kind.DIRECTORY
            if (own and not is_directory) or (is_of_link and not own):
                raise ImageError(
                    f"{name}: {shown!r} lies below {below!r}, which is no directory of this layer",
                    hint="podman cannot unpack it, and other clients put it elsewhere",
                )
            found = below
        return found

    def _parents(self, layer: int, path: str, name: str) -> None:
        """Make the directories that a layer leaves out, as an overlay shows them.

        An entry of another kind is replaced; a directory of lower layers keeps its content alone.
        """
        left_out = []
        while path and not self._is_own_directory(layer, path):
            left_out.append(path)
            if not self._is_directory(path):
                self.implied += len(path)
                if self.implied > _MAX_IMPLIED:
                    raise ImageError(f"{name} leaves out the parents of too many entries")
            path = path.rpartition("/")[0]
        for directory in reversed(left_out):
            if self._is_directory(directory):
                self.inodes[directory].links -= 1
            else:
                self._remove(directory)
            self._add(directory, self._directory(layer))

    def _is_own_directory(self, layer: int, path: str) -> bool:
        inode = self.inodes.get(path)
        return inode is not None and inode.kind is Kind.DIRECTORY and inode.layer == layer

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
        """Return the tree; nothing can be applied to it any more."""
        root = self.inodes.pop("")
        del self.children
        index = {path: position for position, path in enumerate(self.inodes, 1)}
        inodes = self.inodes.values()
        numbers = np.zeros((len(index), len(NUMBERS)), np.int64)
        for column, attribute in _COLUMNS.items():
            numbers[:, NUMBERS.index(column)] = np.fromiter(map(attribute, inodes), np.int64, len(index))
        index[""] = 0
        parents = np.fromiter(
            (index[path.rpartition("/")[0]] for path in self.inodes), np.int64, len(index) - 1
        )
        del index
        more = {
            position: rest for position, rest in enumerate(map(_more_of, inodes)) if rest != (None, None, ())
        }
        hashes = {path: inode.sha256 for path, inode in self.inodes.items() if inode.sha256 is not None}
        looked = {path: inode.looked for path, inode in self.inodes.items() if inode.looked is not None}
        text = path_key("".join([f"{path}\0" for path in self.inodes]))
        del inodes, self.inodes
        tree = Tree.of_rows(_entry(root), [text], bytearray(numbers), more, parents - 1)
        return TreeDigest(name, tree, hashes, looked)


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
