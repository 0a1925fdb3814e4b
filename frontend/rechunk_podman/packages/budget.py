"""What the databases of one package manager may cost: a database in an image may claim anything.

Everything is counted before it is allocated or read. No clock takes part: the same database costs the same
on any machine. The limits leave room for a million files in 20,000 packages, which is more than the largest
systems known to us have, and keep the reader below 256 MiB and, on a machine of today, below ten seconds.
"""

from __future__ import annotations

import logging

from rechunk_podman.errors import DatabaseError

log = logging.getLogger("rechunk_podman")

MOST_RECORDS = 100_000
"""Packages of a database."""

MOST_NAMES = 200_000
"""Paths that one package lists, and entries of its changelog."""

MOST_RECORD_BYTES = 24 << 20
"""Bytes of the record of one package."""

MOST_MEMORY = 160 << 20
"""Bytes of memory for everything that is kept, and for the record at work."""

MOST_READ = 384 << 20
"""Bytes of the files that text is read from; a file that is read again counts again."""

MOST_DATABASE = 1 << 30
"""Bytes of a database in one file, which is not in memory as a whole."""

MOST_WARNINGS = 20
"""Warnings about one package manager; a million of them would take longer than all the rest."""

PACKAGE_COST = 1024
"""Bytes of memory that a package takes beside its names."""

NAME_COST = 64
"""Bytes of memory that a path takes beside its text: size, mode, times, digest, the objects at work."""


class Budget:
    """What is left to spend on the databases of one package manager.

    Args:
        database: for messages, the path as Root.show() writes it; a reader of several sets it again.
    """

    __slots__ = ("_kept", "_read", "_records", "_warnings", "database")

    def __init__(self, database: str) -> None:
        self.database = database
        self._kept = 0
        self._read = 0
        self._records = 0
        self._warnings = 0

    def record(self) -> None:
        """Count a record.

        Raises:
            DatabaseError: there are more than MOST_RECORDS.
        """
        self._records += 1
        if self._records > MOST_RECORDS:
            raise self.exceeded(f"more than {MOST_RECORDS} packages")

    def read(self, size: int) -> None:
        """Count bytes of files that are read, before or after.

        Raises:
            DatabaseError: they are more than MOST_READ in all.
        """
        self._read += size
        if self._read > MOST_READ:
            raise self.exceeded(f"more than {MOST_READ >> 20} MiB to read")

    def keep(self, size: int, working: int = 0) -> None:
        """Count bytes of memory, before they are allocated.

        Args:
            size: bytes that stay.
            working: further bytes that are free again when the next record is read.

        Raises:
            DatabaseError: they are more than MOST_MEMORY in all.
        """
        self._kept += size
        if self._kept + working > MOST_MEMORY:
            raise self.exceeded(f"packages of more than {MOST_MEMORY >> 20} MiB")

    def exceeded(self, what: str) -> DatabaseError:
        """Return the error of a database that claims too much."""
        return DatabaseError(f"the package database {self.database} claims {what}")

    def warn(self, message: str, *arguments: object) -> None:
        """Log a warning, if it is one of the first MOST_WARNINGS."""
        self._warnings += 1
        if self._warnings <= MOST_WARNINGS:
            log.warning(message, *arguments)
        elif self._warnings == MOST_WARNINGS + 1:
            log.warning("%s: there are more warnings like these", self.database)

    def warn_left_out(self, record: str, reason: object) -> None:
        """Log a warning about a broken record.

        Args:
            record: name of the package, or the position of the record.
        """
        record = record[:100] if record.isprintable() else ascii(record[:100])
        record = record or "a package without a name"
        self.warn("%s: the record of %s is left out: %s", self.database, record, reason)


def text_size(text: str) -> int:
    """Return the bytes of memory that a text takes at most, one that is made of its parts included."""
    return len(text) if text.isascii() else 4 * len(text)
