"""Package databases read by a worker while the tree is scanned: neither needs anything of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from rechunk_podman.components.sources import dpkg
from rechunk_podman.packages.dpkg import database as dpkg_load
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

LOADERS: Mapping[str, Callable[[Root], Any]] = {dpkg.name: dpkg_load.load}
"""Source -> what reads its database: from a Root, into plain values."""


class Ahead:
    """What is being read.

    Args:
        root: what it is read from.
        workers: who reads.
    """

    __slots__ = ("_running",)

    def __init__(self, root: Root, workers: Workers) -> None:
        self._running: dict[str, Future[Any]] = {}
        for name, load in LOADERS.items():
            self._running[name] = workers.submit(_load, root, load)

    def take(self) -> Mapping[str, Any]:
        """Waits for what was read: source -> its database, None where there is none.

        Raises:
            DatabaseError: a database is there and cannot be read.
        """
        return {name: future.result() for name, future in self._running.items()}


def _load(root: Root, load: Callable[[Root], Any]) -> Any:
    with root.again() as own:
        return load(own)
