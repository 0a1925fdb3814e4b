"""What a layer holds: its components' paths and their ancestors, in order, packed for the writing process.

Source: image-spec layer.md. Every ancestor directory stands in the layer, whole (mode, owner, xattrs), for
the last layer that has a directory decides what clients make of it.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Component, Entry, Kind, Tree
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.tar import (
    BLOCK,
    END,
    LARGE,
    NAME,
    entry_mtime,
    entry_size,
    entry_type,
    fits_ustar,
    padded,
)
from rechunk_podman.rootfs.paths import in_order, with_ancestors
from rechunk_podman.rootfs.root import Root

_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer to be written.

    components: each path in at most one of them. A component with the path "" brings the root, `./`.
    annotations: of its descriptor.
    expected: the diff_id that it is expected to have; see `reuse` of write_image().
    """

    components: tuple[Component, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    expected: DiffId | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What all layers are made from.

    mtimes: times of single paths, see entry_mtime(). root_mode: permission bits of `./`.
    """

    root: Root
    tree: Tree
    mtimes: Mapping[str, int]
    root_mode: int = 0o755


class Member(NamedTuple):
    """An entry as a layer holds it. link: the path, in this layer, that it is a hard link to."""

    path: str
    entry: Entry
    mtime: int
    link: str | None


class Traits(NamedTuple):
    """What many members have in common. type_flag: as in the tar header."""

    type_flag: bytes
    mode: int
    uid: int
    gid: int
    major: int
    minor: int
    xattrs: tuple[tuple[str, bytes], ...]


class Chunk(NamedTuple):
    """Some members.

    paths: joined by zero bytes, numbers: traits, size, mtime and seen, one column after the other; both
    compressed. targets: (place in the chunk, target).
    """

    paths: bytes
    numbers: bytes
    targets: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """All members of a layer, and the exact size of its tar in bytes.

    A process that only looks at a Python object writes to it, and so copies the page it shares with its
    parent. Packed, the members of a layer are a few bytes each, and nothing of the Tree is touched.
    """

    size: int
    traits: tuple[Traits, ...]
    chunks: tuple[Chunk, ...]

    def rows(self) -> Iterator[tuple[str, int, int, int, int, str]]:
        """The members in order: path, index of its traits, size, mtime, seen, target.

        mtime: in the layer; seen: that of the file, as it was scanned. target: of a symlink or hard link.
        """
        for chunk in self.chunks:
            paths = zlib.decompress(chunk.paths).decode("utf-8", "surrogateescape").split("\0")
            numbers = array("q")
            numbers.frombytes(zlib.decompress(chunk.numbers))
            count = len(paths)
            targets = [""] * count
            for place, target in chunk.targets:
                targets[place] = target
            indices, sizes, times, seens = (
                numbers[start : start + count] for start in range(0, 4 * count, count)
            )
            yield from zip(paths, indices, sizes, times, seens, targets, strict=True)


def members(source: Source, spec: LayerSpec) -> Iterator[Member]:
    """The entries of a layer in path order, ancestors before what they hold, a hard link after its target.

    Raises:
        RootfsError: the tree lacks a path of a component.
    """
    tree, mtimes = source.tree, source.mtimes
    clamps: dict[str, int | None] = {}
    for component in spec.components:
        clamps.update(dict.fromkeys(component.paths, component.mtime_clamp))
    if "" in clamps:
        root = Entry(Kind.DIRECTORY, source.root_mode, 0, 0, 0, 0, 0, 0, 0, None, None, ())
        yield Member("", root, 0, None)
    links, firsts = tree.links, dict[str, str]()
    for path in in_order(with_ancestors(clamps)):
        entry = tree.get(path)
        if entry is None:
            raise RootfsError(f"{source.root.show(path)} is planned, but not in the root filesystem")
        leader = links.get(path, path)
        mtime = entry_mtime(leader, entry, mtimes, clamps.get(path))
        if leader is path or leader in clamps:
            yield Member(path, entry, mtime, None if leader is path else leader)
        else:
            first = firsts.setdefault(leader, path)
            yield Member(path, entry, mtime, None if first is path else first)


def pack(source: Source, spec: LayerSpec) -> PackedLayer:
    """The members of a layer, packed; nothing is read but the Tree.

    Raises:
        RootfsError: as members().
    """
    # What members have in common -> its index, and whether ustar holds it in any case.
    known: dict[tuple[object, ...], tuple[int, bool]] = {}
    traits: list[Traits] = []
    total = len(END)
    chunks: list[Chunk] = []
    found = members(source, spec)
    while batch := list(islice(found, _CHUNK)):
        paths: list[str] = []
        columns = [array("q") for _ in range(4)]
        indices, sizes, times, seens = (column.append for column in columns)
        targets: list[tuple[int, str]] = []
        for path, entry, mtime, link in batch:
            kind, mode, uid, gid, size, seen, _, _, _, target, rdev, xattrs = entry
            key = (kind, mode, uid, gid, rdev, xattrs, link is None)
            common = known.get(key)
            if common is None:
                major, minor = rdev or (0, 0)
                traits.append(Traits(entry_type(entry, link), mode, uid, gid, major, minor, xattrs))
                common = known[key] = (len(known), link is None and target is None and fits_ustar(entry))
            index, plain = common
            if plain and len(path) < NAME and path.isascii() and 0 <= mtime < LARGE > size:
                total += BLOCK + padded(size)
            else:
                total += entry_size(path, entry, mtime, link)
                if link is not None:
                    target, size = link, 0
                if target:
                    targets.append((len(paths), target))
            paths.append(path)
            indices(index)
            sizes(size)
            times(mtime)
            seens(seen)
        chunks.append(
            Chunk(
                zlib.compress("\0".join(paths).encode("utf-8", "surrogateescape"), 1),
                zlib.compress(b"".join(columns), 1),
                tuple(targets),
            )
        )
    return PackedLayer(total, tuple(traits), tuple(chunks))
