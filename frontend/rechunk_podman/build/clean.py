"""Leave files that builds leave behind out of an image: the preset `--clean`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from rechunk_podman.errors import RootfsError
from rechunk_podman.log import NOTE
from rechunk_podman.model import Tree
from rechunk_podman.packages.leftovers import LEFTOVERS
from rechunk_podman.rootfs.root import Root
from rechunk_podman.units import human_size, plural

log = logging.getLogger("rechunk_podman")

_MAX_ID = 4096
"""Bytes of the largest file that may hold an unset machine id."""
_NAMED = 3


def without_leftovers(root: Root, tree: Tree, names: Sequence[str]) -> Tree:
    """Return the Tree without the files that these checks of lint report; log what and how much.

    Directories stay: packages expect them.

    Args:
        names: keys of LEFTOVERS.
    """

    def read(path: str) -> str | None:
        try:
            return root.read(path, _MAX_ID).decode("utf-8", "replace")
        except RootfsError:
            return None

    gone: set[int] = set()
    for name in names:
        paths = [path for path in LEFTOVERS[name](tree, read) if tree.position[path] not in gone]
        positions = [tree.position[path] for path in paths]
        if positions:
            size = tree.size_without(gone.union(positions)) - tree.size_without(gone)
            shown = ", ".join(map(root.show, paths[:_NAMED]))
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            count = plural(len(paths), "file")
            log.log(NOTE, "clean: %s: %s, %s left out: %s%s", name, count, human_size(size), shown, more)
            gone.update(positions)
    if not gone:
        log.log(NOTE, "clean: nothing to leave out")
        return tree
    return Tree.of_rows(
        tree.root,
        [tree.paths.text],
        bytearray(tree.numbers.tobytes()),
        tree.more,
        tree.parent.astype(np.int64),
        sorted(gone),
    )
