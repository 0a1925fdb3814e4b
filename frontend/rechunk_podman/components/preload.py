"""Package databases that workers read while the root filesystem is scanned: neither needs the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.protocol import Database, Ecosystem
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers


class Ahead:
    """The databases that are being read: of every ecosystem that does not need the scanned paths.

    Args:
        root: the root filesystem.
        workers: threads that read.
    """

    __slots__ = ("_running",)

    def __init__(self, root: Root, workers: Workers, ecosystems: Sequence[Ecosystem] = ECOSYSTEMS) -> None:
        self._running: dict[str, Future[Database | None]] = {
            ecosystem.name: workers.submit(_load, root, ecosystem)
            for ecosystem in ecosystems
            if not ecosystem.locations.scattered
        }

    def take(self) -> dict[str, Database | None]:
        """Wait for the readers and return ecosystem -> database, None where there is none.

        Raises:
            DatabaseError: a database exists and cannot be read as a whole.
        """
        running, self._running = self._running, {}
        return {name: future.result() for name, future in running.items()}


def _load(root: Root, ecosystem: Ecosystem) -> Database | None:
    with root.duplicate() as own:
        return ecosystem.load(own)
