"""The tar stream of a layer, from the positions of its paths in a Tree.

Source: image-spec layer.md. Every layer contains all ancestor directories with mode, owner and xattrs:
clients use the metadata of the last layer with a directory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import ROOT, Positions, Tree
from rechunk_podman.native import TarStream
from rechunk_podman.oci.write.tar import entry_header
from rechunk_podman.pathtable import distinct
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import written_root


@dataclass(frozen=True, slots=True)
class TarSource:
    """A root filesystem, in the form that layers hold.

    mtimes: of each position of the tree, epoch seconds.
    root_mode: permission bits of `./`.
    """

    root: Root
    tree: Tree
    mtimes: npt.NDArray[np.int64]
    root_mode: int = 0o755

    def stream(self, own: Positions) -> TarStream:
        """Return the unread tar of a layer: entries in path order, a hard link after its target.

        Args:
            own: the positions of the layer, in any order, each once; ROOT adds `./`.
        """
        tree = self.tree
        placed = own[own != ROOT]
        positions = distinct(np.concatenate([placed, tree.ancestors(placed)]))
        if len(placed) < len(own):
            positions = np.insert(positions, 0, ROOT)
        links = _hard_links(tree, positions)

        def header(index: int) -> bytes:
            """Return the header blocks of an entry that needs more than ustar."""
            position = int(positions[index])
            if position == ROOT:
                return entry_header("", written_root(tree, self.root_mode), 0)
            mtime = int(self.mtimes[position])
            return entry_header(tree.paths[position], tree.entry(position), mtime, links.get(index))

        paths, numbers, more = tree.paths, tree.numbers, tree.more
        return TarStream(
            self.root.fd, paths.text, paths.starts, numbers, more, positions, self.mtimes, links, header
        )


def _hard_links(tree: Tree, positions: Positions) -> dict[int, str]:
    """Return the hard links of a layer: index -> the path in the same layer that the entry links to."""
    leaders = tree.leader
    indexes = np.flatnonzero(
        np.isin(positions, np.fromiter(leaders, np.intp, len(leaders)), assume_unique=True)
    )
    links: dict[int, str] = {}
    # leader -> the first path of its group in this layer; the leader itself if the layer has it
    firsts: dict[int, int] = {}
    for index, position in zip(indexes.tolist(), positions[indexes].tolist(), strict=True):
        leader = leaders[position]
        if leader not in firsts:
            at = int(np.searchsorted(positions, leader))
            held = at < len(positions) and positions[at] == leader
            firsts[leader] = leader if held else position
        if firsts[leader] != position:
            links[index] = tree.paths[firsts[leader]]
    return links
