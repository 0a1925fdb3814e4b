"""Package databases of a root filesystem. Workers read most of them during the scan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.protocol import Database, Ecosystem
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import pruned_path
from rechunk_podman.workers import Workers

log = logging.getLogger("rechunk_podman")


class Databases:
    """The package databases of a root filesystem. A pruned one is not opened.

    A database that cannot be read is a warning, and its packages are unknown, unless `strict`.

    Args:
        root: the root filesystem.
        workers: threads that read at once the databases of ecosystems that need no scanned paths.
        prune: as for scan().

    Raises:
        UsageError: a prune path is not absolute, or is `/`.
    """

    __slots__ = ("_kept", "_pruned", "_root", "_running", "_strict")

    def __init__(
        self,
        root: Root,
        workers: Workers | None = None,
        ecosystems: Sequence[Ecosystem] = ECOSYSTEMS,
        *,
        prune: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        self._root = root
        self._strict = strict
        self._pruned = [pruned_path(root, given)[0] for given in prune]
        self._running: dict[str, Future[Database | None]] = {}
        self._kept: dict[str, Database | None] = {}
        if workers is not None:
            self._running = {
                ecosystem.name: workers.submit(_load, root, ecosystem, (), self._hidden(ecosystem))
                for ecosystem in ecosystems
                if not (ecosystem.locations.scattered or ecosystem.locations.embedded)
            }

    def load(self, ecosystem: Ecosystem, records: Sequence[str]) -> Database | None:
        """Return the database of an ecosystem, or None if there is none. Call it once per ecosystem.

        Args:
            records: as for Ecosystem.load().

        Raises:
            DatabaseError: the database exists and cannot be read as a whole, and `strict` is set.
            RootfsError: permissions forbid to read the database.
        """
        if ecosystem.name in self._kept:
            return self._kept.pop(ecosystem.name)
        try:
            running = self._running.pop(ecosystem.name, None)
            if running is not None:
                return running.result()
            return _load(self._root, ecosystem, records, self._hidden(ecosystem))
        except DatabaseError as error:
            return self._unreadable(ecosystem, error)

    def peek(self, ecosystem: Ecosystem, records: Sequence[str]) -> Database | None:
        """Return the same as load(), and keep it for load(). Call it once per ecosystem, before load()."""
        self._kept[ecosystem.name] = self.load(ecosystem, records)
        return self._kept[ecosystem.name]

    def _unreadable(self, ecosystem: Ecosystem, error: DatabaseError) -> Database:
        """Warn, and return a database whose packages are unknown.

        Raises:
            DatabaseError: `strict` is set; the hint says how to do without the database.
        """
        resolved = map(self._root.resolve_or_keep, ecosystem.locations.directories)
        directories = [path for path in dict.fromkeys(resolved) if self._root.names(path)]
        if self._strict:
            options = " ".join(f"--prune /{path}" for path in directories)
            hint = f"repair it, leave it out ({options}), or" if directories else "repair it, or"
            hint = f"{hint} do without --strict"
            if error.hint is not None:
                hint = f"{error.hint}; else {hint}"
            raise DatabaseError(error.message, context=error.context, hint=hint) from error
        log.warning(
            "%s: its packages are unknown, and their files are placed without it (--strict: an error)",
            "; ".join((error.message, *error.context)),
        )
        return Database((), directories)

    def _hidden(self, ecosystem: Ecosystem) -> list[str]:
        """Return the pruned paths that contain a database or lie within one.

        Other pruned paths stay readable: a changelog dates a package even if the image leaves it out.
        """
        paths = ecosystem.locations.directories
        directories = {*paths, *map(self._root.resolve_or_keep, paths)}
        return [
            path
            for path in self._pruned
            if any(f"{path}/".startswith(f"{d}/") or f"{d}/".startswith(f"{path}/") for d in directories)
        ]


def _load(root: Root, ecosystem: Ecosystem, records: Sequence[str], hidden: Sequence[str]) -> Database | None:
    with root.duplicate(hidden) as own:
        return ecosystem.load(own, records)
