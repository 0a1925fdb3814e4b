"""The header blobs in rpm's databases.

rpm's docs/manual and lib/backend: sqlite (rpmdb.sqlite, table Packages), ndb (Packages.db), Berkeley DB
(Packages); in usr/lib/sysimage/rpm, var/lib/rpm or (ostree) usr/share/rpm. Nothing is ever written into the
root filesystem.
"""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.budget import MOST_DATABASE, MOST_RECORD_BYTES
from rechunk_podman.packages.reading import exists
from rechunk_podman.packages.rpm import bdb as rpm_bdb
from rechunk_podman.packages.rpm import ndb as rpm_ndb
from rechunk_podman.packages.rpm.header import HeaderError
from rechunk_podman.rootfs.root import Root
from rechunk_podman.temporary import private_directory

DIRECTORIES = ("usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm")
"""Directories with a database; each may be a symlink to another one."""

Record = bytes | HeaderError

_HINT = "check it with `rpm --root ROOTFS --rebuilddb`"
_SIZES = "SELECT hnum, typeof(blob), length(blob) FROM Packages WHERE typeof(hnum) = 'integer' ORDER BY hnum"
_TICK = 10_000
_MOST_TICKS = 2_000
"""The largest number of runs of _TICK instructions of SQLite's virtual machine; 20,000 packages take 60."""

_MOST_SQL = 64 << 10
"""The longest statement in the schema, in bytes."""

_MOST_HEAP = 3 * MOST_RECORD_BYTES
"""The memory of SQLite in this process, in bytes: Python 3.10 cannot set the limits of a connection."""


def databases(root: Root) -> dict[str, str]:
    """Return the canonical path of each rpm database that is not empty -> its name in FORMATS, best first.

    Raises:
        DatabaseError: there is none, but something else than a file in the place of one.
    """
    found: dict[str, str] = {}
    wrong = []
    for directory in map(root.resolve_or_keep, DIRECTORIES):
        for name in FORMATS:
            path = root.resolve_or_keep(f"{directory}/{name}")
            size = size_of(root, path)
            if size:
                found.setdefault(path, name)
            elif size is None and exists(root, f"{directory}/{name}"):
                wrong.append(path)
    if wrong and not found:
        raise DatabaseError(f"the rpm database {root.show(wrong[0])} is not a regular file")
    return found


def records(root: Root, paths: Mapping[str, str]) -> Iterator[tuple[str, Record]]:
    """Yield (path of the database, record) for the first of these databases that has records.

    A record is a header blob, or the error of a broken record.

    Args:
        paths: as databases() returns them.

    Raises:
        DatabaseError: a database cannot be opened, or does not have the format of its name.
    """
    for path, name in paths.items():
        if (size_of(root, path) or 0) > MOST_DATABASE:
            raise DatabaseError(f"the rpm database {root.show(path)} has more than {MOST_DATABASE >> 20} MiB")
        empty = True
        for record in FORMATS[name](root, path):
            empty = False
            yield path, record
        if not empty:
            return


def size_of(root: Root, path: str) -> int | None:
    """Return the size in bytes of the regular file at a canonical path, or None."""
    try:
        status = root.stat(path)
    except RootfsError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sqlite(root: Root, path: str) -> Iterator[Record]:
    name = root.show(path)
    try:
        with _connection(root, path) as connection:
            _limit(connection)
            if not _has_table(connection):
                raise DatabaseError(f"{name} holds no table of packages", hint=_HINT)
            left = size_of(root, path) or 0
            left += size_of(root, f"{path}-wal") or 0
            for number, kind, size in connection.execute(_SIZES):
                if kind != "blob" or size > MOST_RECORD_BYTES:
                    yield HeaderError(f"package {number} of the rpm database is no blob, or a huge one")
                    continue
                left -= size
                if left < 0:
                    raise DatabaseError(f"the packages of the rpm database {name} are larger than itself")
                yield _row(connection, number)
    except MemoryError as error:
        raise DatabaseError(
            f"the rpm database {name} needs more than {_MOST_HEAP >> 20} MiB of memory", hint=_HINT
        ) from error
    # SQLite's errors quote names in the database, and sqlite3 decodes them strictly
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise DatabaseError(f"cannot read the rpm database {name}: {error}", hint=_HINT) from error


def _limit(connection: sqlite3.Connection) -> None:
    """Bound the work and the memory of queries: schema, trees of pages and values may be forged."""
    ticks = itertools.count(1)
    connection.set_progress_handler(lambda: next(ticks) > _MOST_TICKS, _TICK)
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_RECORD_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MOST_SQL)
    # Both are read before the schema is. The heap is that of the process; the limit can only be lowered.
    connection.execute(f"PRAGMA hard_heap_limit = {_MOST_HEAP}")
    connection.execute("PRAGMA trusted_schema = OFF")


def _has_table(connection: sqlite3.Connection) -> bool:
    """Return True if there is a real table of packages: no view, virtual table or computed columns."""
    table = connection.execute("SELECT type, rootpage > 0 FROM sqlite_master WHERE name = 'Packages'")
    if table.fetchone() != ("table", 1):
        return False
    columns = {name: hidden for _, name, *_, hidden in connection.execute("PRAGMA table_xinfo(Packages)")}
    return columns.get("hnum") == columns.get("blob") == 0


def _row(connection: sqlite3.Connection, number: int) -> Record:
    try:
        row = connection.execute("SELECT blob FROM Packages WHERE hnum = ?", (number,)).fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return HeaderError(f"package {number} of the rpm database: {error}")
    if row is None or not isinstance(row[0], bytes):
        return HeaderError(f"package {number} of the rpm database is no blob")
    return row[0]


@contextmanager
def _connection(root: Root, path: str) -> Iterator[sqlite3.Connection]:
    """Open a database in its last committed state, with its write-ahead log or rollback journal applied.

    SQLite opens a database in WAL mode on a read-only file system only as immutable, and then ignores its log
    (sqlite.org/wal.html, "Read-Only Databases"). So if there is a log, a private copy of both is opened.
    """
    aside = [suffix for suffix in ("-wal", "-journal") if size_of(root, path + suffix)]
    if not aside:
        descriptor = root.open(path)
        try:
            connection = sqlite3.connect(f"file:/proc/self/fd/{descriptor}?mode=ro&immutable=1", uri=True)
            with closing(connection):
                yield connection
        finally:
            os.close(descriptor)
        return
    with private_directory() as (folder, _):
        copy = Path(folder) / "rpmdb.sqlite"
        for suffix in ("", *aside):
            with (
                os.fdopen(root.open(path + suffix), "rb") as source,
                Path(f"{copy}{suffix}").open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
        with closing(sqlite3.connect(copy)) as connection:
            yield connection


def _mapped(parse: Callable[[bytes], Iterator[Record]]) -> Callable[[Root, str], Iterator[Record]]:
    """Return a reader that maps the file for a pure parser, so that it is never in memory as a whole."""

    def read(root: Root, path: str) -> Iterator[Record]:
        descriptor = root.open(path)
        try:
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
                # a mapping can be sliced and unpacked like bytes
                yield from parse(data)  # type: ignore[arg-type]
        except DatabaseError as error:
            message = f"cannot read the rpm database {root.show(path)}: {error.message}"
            raise DatabaseError(message, hint=_HINT) from error
        except (OSError, ValueError) as error:
            raise DatabaseError(
                f"cannot read the rpm database {root.show(path)}: {error}", hint=_HINT
            ) from error
        finally:
            os.close(descriptor)

    return read


FORMATS: dict[str, Callable[[Root, str], Iterator[Record]]] = {
    "rpmdb.sqlite": _sqlite,
    "Packages.db": _mapped(rpm_ndb.parse),
    "Packages": _mapped(rpm_bdb.parse),
}
"""Name of a database -> the reader of its records."""
