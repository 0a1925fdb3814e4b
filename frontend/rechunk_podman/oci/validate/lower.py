"""The layers below the one that is read: which of their paths are no directories.

Clients that unpack a layer by itself (podman, docker with overlay2) make a directory of such a path where an
entry lies below it. Those that unpack into the tree (umoci, containerd) follow a symlink and refuse the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.int64]
"""Hashes of paths, sorted: a layer may hold hundreds of thousands of files."""


@dataclass(frozen=True, slots=True)
class LayerPaths:
    """The paths of one layer.

    others: of all entries but directories and whiteouts. symlinks: those of them that are symlinks.
    whiteouts: the paths that it removes. opaque: the directories of which it hides the lower content.
    """

    others: Hashes
    directories: Hashes
    symlinks: frozenset[str]
    whiteouts: frozenset[str]
    opaque: frozenset[str]

    def hides(self, path: str) -> bool:
        """Return True if whiteouts of the layer remove a path of lower layers."""
        while path:
            parent = path.rpartition("/")[0]
            if path in self.whiteouts or parent in self.opaque:
                return True
            path = parent
        return False


def hashes(paths: Collection[str]) -> Hashes:
    """Return the sorted hashes of paths."""
    return np.sort(np.fromiter(map(hash, paths), np.int64, len(paths)))


class LowerLayers:
    """The layers below the one that is read, of one image after the other, which may share layers."""

    def __init__(self) -> None:
        self._known: dict[str, LayerPaths] = {}
        self._names: list[str] = []

    def enter(self, layer: str, number: int) -> None:
        """Begin a layer, named by its file. 0 begins an image."""
        if number == 0:
            self._names = []
        self._names.append(layer)

    def keep(self, paths: LayerPaths) -> None:
        """Keep the paths of the layer that was entered last."""
        if self._names:
            self._known[self._names[-1]] = paths

    def _below(self) -> list[LayerPaths]:
        """Return the layers below the current one that could be read, the uppermost first."""
        return [self._known[name] for name in reversed(self._names[:-1]) if name in self._known]

    def obstacles(self, paths: Iterable[str]) -> dict[str, bool]:
        """Return the paths that are no directories in the layers below -> True for a symlink."""
        below, names = self._below(), list(paths)
        asked = np.fromiter(map(hash, names), np.int64, len(names))
        hit = np.zeros(len(names), bool)
        for layer in below:
            hit |= np.isin(asked, layer.others)
        found = {}
        for index in np.flatnonzero(hit).tolist():
            is_link = _is_symlink(names[index], below)
            if is_link is not None:
                found[names[index]] = is_link
        return found


def _is_symlink(path: str, layers: Iterable[LayerPaths]) -> bool | None:
    """Return True for a symlink, False for another entry; None for a directory or nothing."""
    for layer in layers:
        if path in layer.symlinks:
            return True
        if _has(layer.others, path):
            return False
        if _has(layer.directories, path) or layer.hides(path):
            return None
    return None


def _has(sorted_hashes: Hashes, path: str) -> bool:
    index = int(np.searchsorted(sorted_hashes, hash(path)))
    return index < len(sorted_hashes) and int(sorted_hashes[index]) == hash(path)
