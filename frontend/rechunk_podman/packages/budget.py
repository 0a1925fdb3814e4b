"""Limits of the cost of reading package databases, since a database in an image may claim anything.

Everything is counted before it is allocated or read. No clock is involved: the same database costs the same
on any machine. The limits allow a million files in 20,000 packages, more than the largest systems known to us
have, and keep the reader below 256 MiB and, on a machine of today, below ten seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from rechunk_podman.errors import DatabaseError

log = logging.getLogger("rechunk_podman")

MOST_RECORDS = 100_000
"""Packages in a database."""

MOST_NAMES = 200_000
"""Paths that one package lists, and entries of its changelog."""

MOST_RECORD_BYTES = 24 << 20
"""Bytes of the record of one package."""

MOST_MEMORY = 160 << 20
"""Bytes of memory for everything that is kept, and for the current record."""

MOST_READ = 384 << 20
"""Bytes read from text files; a file that is read twice counts twice."""

MOST_DATABASE = 1 << 30
"""Bytes of a database in one file, which is never in memory as a whole."""

MOST_WARNINGS = 20
"""Warnings about one package manager; a million would take longer than the whole build."""

PACKAGE_COST = 1024
"""Bytes of memory of a package without its names."""

NAME_COST = 64
"""Bytes of memory of a path without its text: size, mode, times, digest, temporary objects."""


class Budget:
    """The remaining budget for the databases of one package manager.

    Args:
        database: the path as Root.show() returns it, for messages; readers of several databases update it.
    """

    __slots__ = ("_kept", "_left_out", "_read", "_records", "_warnings", "database")

    def __init__(self, database: str) -> None:
        self.database = database
        self._kept = 0
        self._left_out = 0
        self._read = 0
        self._records = 0
        self._warnings = 0

    def record(self) -> None:
        """Count a record.

        Raises:
            DatabaseError: there are more than MOST_RECORDS records.
        """
        self._records += 1
        if self._records > MOST_RECORDS:
            raise self.exceeded(f"more than {MOST_RECORDS} packages")

    def read(self, size: int) -> None:
        """Count bytes of files, before or after they are read.

        Raises:
            DatabaseError: the sum is more than MOST_READ.
        """
        self._read += size
        if self._read > MOST_READ:
            raise self.exceeded(f"more than {MOST_READ >> 20} MiB to read")

    def keep(self, size: int, working: int = 0) -> None:
        """Count bytes of memory, before they are allocated.

        Args:
            size: bytes that stay.
            working: further bytes, which are freed before the next record is read.

        Raises:
            DatabaseError: the sum is more than MOST_MEMORY.
        """
        self._kept += size
        if self._kept + working > MOST_MEMORY:
            raise self.exceeded(f"packages of more than {MOST_MEMORY >> 20} MiB")

    def exceeded(self, what: str) -> DatabaseError:
        """Return the error for a database that claims too much."""
        return DatabaseError(f"the package database {self.database} claims {what}")

    def warn(self, message: str, *arguments: object) -> None:
        """Log a warning, if it is one of the first MOST_WARNINGS."""
        self._warnings += 1
        if self._warnings <= MOST_WARNINGS:
            log.warning(message, *arguments)
        elif self._warnings == MOST_WARNINGS + 1:
            log.warning("the package database %s: there are more warnings like these", self.database)

    def warn_left_out(self, record: str, reason: object) -> None:
        """Log a warning about a broken record.

        Args:
            record: the name of the package, or the index of the record.
        """
        self._left_out += 1
        record = record[:100] if record.isprintable() else ascii(record[:100])
        record = record or "a package without a name"
        self.warn("the package database %s: the record of %s is left out: %s", self.database, record, reason)

    def require_a_record(self, packages: Sequence[object]) -> None:
        """Check that not every record was left out, and that text that was read has records.

        Args:
            packages: the packages that were read.

        Raises:
            DatabaseError: the database is not empty, and no package was read.
        """
        has_no_record = self._read > 0 and self._records == 0
        if not packages and (self._left_out or has_no_record):
            raise DatabaseError(f"no record of the package database {self.database} can be read")


def text_size(text: str) -> int:
    """Return the largest memory size of a text in bytes, with a second text made of its parts."""
    return len(text) if text.isascii() else 4 * len(text)


def texts_size(texts: Collection[str]) -> int:
    """Return the sum of text_size() of many texts."""
    if all(map(str.isascii, texts)):
        return sum(map(len, texts))
    return sum(map(text_size, texts))
