"""What a layer holds: its components' paths and their ancestors, in order.

Source: image-spec layer.md. Every ancestor directory stands in the layer, whole (mode, owner, xattrs), for
the last layer that has a directory decides what clients make of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import NO_TIME, NUMBERS, Component, Kind, Tree, make_entry
from rechunk_podman.native import TarStream
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.write.tar import UNCLAMPED, entry_header, entry_mtimes
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

    mtimes: epoch seconds of positions of the tree, NO_TIME for those of entry_mtimes(); None: all are.
    root_mode: permission bits of `./`.
    """

    root: Root
    tree: Tree
    mtimes: Sequence[int] | None
    root_mode: int = 0o755


class Members(NamedTuple):
    """The entries of a layer in path order, ancestors before what they hold, a hard link after its target.

    positions: in the tree, -1 for the root itself. mtimes: as the layer has them. links: place of a hard
    link -> the path, in this layer, that it is a link to.
    """

    source: Source
    positions: npt.NDArray[np.intp]
    mtimes: npt.NDArray[np.int64]
    links: dict[int, str]

    def header(self, place: int) -> bytes:
        """The header blocks of one of them."""
        position = int(self.positions[place])
        if position < 0:
            entry = make_entry([Kind.DIRECTORY, self.source.root_mode, *[0] * (len(NUMBERS) - 2)])
            return entry_header("", entry, int(self.mtimes[place]))
        tree = self.source.tree
        return entry_header(
            tree.paths[position], tree.entry(position), int(self.mtimes[place]), self.links.get(place)
        )


def members(source: Source, spec: LayerSpec) -> Members:
    """What a layer holds.

    Raises:
        RootfsError: the tree lacks a path of a component.
    """
    tree = source.tree
    own: list[npt.NDArray[np.intp]] = [np.empty(0, np.intp)]
    clamps: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    with_root = False
    for component in spec.components:
        paths = component.paths
        if "" in paths:
            with_root = True
            paths = tuple(filter(None, paths))
        try:
            own.append(np.fromiter(map(tree.position.__getitem__, paths), np.intp, len(paths)))
        except KeyError as error:
            raise RootfsError(
                f"{source.root.show(error.args[0])} is planned, but not in the root filesystem"
            ) from None
        clamp = UNCLAMPED if component.mtime_clamp is None else component.mtime_clamp
        clamps.append(np.full(len(paths), clamp, np.int64))
    placed = np.concatenate(own)
    merged = np.sort(np.concatenate([placed, tree.ancestors(placed)]))
    positions = merged[np.diff(merged, prepend=-1) != 0]
    clamp_of = np.full(len(positions), UNCLAMPED, np.int64)
    clamp_of[np.searchsorted(positions, placed)] = np.concatenate(clamps)
    mtimes = entry_mtimes(tree.column("kind")[positions], tree.column("mtime")[positions], clamp_of)
    if source.mtimes is not None:
        # a link's time is its leader's
        said = np.asarray(source.mtimes)
        first = positions.copy()
        for place, position in _those(positions, tree.leader):
            first[place] = tree.leader[position]
        mtimes = np.where(said[first] != NO_TIME, said[first], mtimes)
    before = [0] * with_root
    return Members(
        source,
        np.concatenate([np.array(before, np.intp) - 1, positions]),
        np.concatenate([np.array(before, np.int64), mtimes]),
        {place + with_root: path for place, path in _links(source, placed, positions).items()},
    )


def _those(positions: npt.NDArray[np.intp], keys: Collection[int]) -> list[tuple[int, int]]:
    """(place among the positions, position) of those that are keys, in order."""
    places = np.flatnonzero(np.isin(positions, np.fromiter(keys, np.intp, len(keys)), assume_unique=True))
    return list(zip(places.tolist(), positions[places].tolist(), strict=True))


def _links(source: Source, own: npt.NDArray[np.intp], positions: npt.NDArray[np.intp]) -> dict[int, str]:
    """Place of a hard link -> the path that it is a link to."""
    tree = source.tree
    links = _those(positions, tree.leader)
    leaders = {tree.leader[position] for _, position in links}
    held = set(own[np.isin(own, list(leaders))].tolist()) if leaders else set()
    firsts: dict[int, int] = {}
    found = {}
    for place, position in links:
        leader = tree.leader[position]
        if leader not in held:
            leader = firsts.setdefault(leader, position)
        if leader != position:
            found[place] = tree.paths[leader]
    return found


def tar_stream(source: Source, spec: LayerSpec) -> TarStream:
    """The tar of a layer, of which nothing has been read yet.

    Raises:
        RootfsError: as members().
    """
    found = members(source, spec)
    tree = source.tree
    return TarStream(
        source.root.fd,
        tree.paths,
        tree.numbers,
        tree.more,
        found.positions.astype(np.int64, copy=False),
        found.mtimes,
        found.links,
        found.header,
    )
