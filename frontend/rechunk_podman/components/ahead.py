"""Package databases read by a process of a crew, while the tree is scanned.

A scan and a database need nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rechunk_podman.components import dpkg, dpkg_load
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root

LOADERS = {dpkg.name: dpkg_load.load}
"""Source -> what reads its database: from a Root, into plain values."""


class Ahead:
    """What is being read, or (where the crew has no processes) will be when it is needed.

    Args:
        crew: one process of which must be free for each of LOADERS; they are not lacking afterwards.
    """

    __slots__ = ("_crew", "_running")

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._running = len(LOADERS) if crew.size else 0
        for name in LOADERS if crew.size else ():
            crew.submit("database", name, _load, name)

    def take(self) -> Mapping[str, Any]:
        """Waits for what was read: source -> its database, None where there is none.

        Raises:
            DatabaseError: a database is there and cannot be read.
        """
        found = dict(self._crew.wait("database") for _ in range(self._running))
        self._running = 0
        return found


def _load(root: Root, name: str) -> Any:
    return LOADERS[name](root)
