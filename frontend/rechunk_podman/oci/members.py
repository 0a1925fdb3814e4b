"""What a layer holds: its components' paths and their ancestors, in order.

Source: image-spec layer.md. Every ancestor directory stands in the layer, whole (mode, owner, xattrs), for
the last layer that has a directory decides what clients make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Component, Entry, Kind, Tree
from rechunk_podman.oci._stream import TarStream
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.tar import entry_header, entry_mtime
from rechunk_podman.rootfs.paths import in_order, with_ancestors
from rechunk_podman.rootfs.root import Root


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


Member = tuple[str, Entry, int, str | None]
"""An entry as a layer holds it: path, Entry, mtime, the path in this layer that it is a hard link to."""


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
        yield "", root, 0, None
    links, firsts, find, clamp = tree.links, dict[str, str](), tree.get, clamps.get
    for path in in_order(with_ancestors(clamps)):
        entry = find(path)
        if entry is None:
            raise RootfsError(f"{source.root.show(path)} is planned, but not in the root filesystem")
        leader = links.get(path)
        if leader is None:
            yield path, entry, entry_mtime(path, entry, mtimes, clamp(path)), None
            continue
        mtime = entry_mtime(leader, entry, mtimes, clamp(path))
        if leader not in clamps:
            leader = firsts.setdefault(leader, path)
        yield path, entry, mtime, None if leader is path else leader


def tar_stream(source: Source, spec: LayerSpec) -> TarStream:
    """The tar of a layer, of which nothing has been read yet.

    Raises:
        RootfsError: as members().
    """
    return TarStream(source.root.fd, members(source, spec), entry_header)
