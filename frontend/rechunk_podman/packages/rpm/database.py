"""The header blobs in rpm's databases.

rpm's docs/manual and lib/backend: sqlite (rpmdb.sqlite, table Packages), ndb (Packages.db), Berkeley DB
(Packages); in usr/lib/sysimage/rpm, var/lib/rpm or (ostree) usr/share/rpm. Nothing is ever written into the
root filesystem.
"""

from __future__ import annotations

import mmap
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.rpm import bdb as rpm_bdb
from rechunk_podman.packages.rpm import ndb as rpm_ndb
from rechunk_podman.packages.rpm.header import HeaderError
from rechunk_podman.rootfs.root import Root

DIRECTORIES = ("usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm")
"""Each may be a symlink to another one."""

Record = bytes | HeaderError


def databases(root: Root) -> list[str]:
    """Return the canonical paths of the rpm databases that are there and hold anything, best first."""
    found: dict[str, None] = {}
    for directory in map(root.resolve_or_keep, DIRECTORIES):
        for name in FORMATS:
            path = root.resolve_or_keep(f"{directory}/{name}")
            if size_of(root, path):
                found[path] = None
    return list(found)


def records(root: Root, paths: list[str]) -> Iterator[tuple[str, Record]]:
    """Yield the records of the first of these databases that has any, each with the path of the database.

    A record is a header blob, or the reason why it is none.

    Raises:
        DatabaseError: a database cannot be opened, or is not what its name says.
    """
    for path in paths:
        empty = True
        for record in FORMATS[path.rpartition("/")[2]](root, path):
            empty = False
            yield path, record
        if not empty:
            return


def size_of(root: Root, path: str) -> int | None:
    """Return the size in bytes of the regular file at a canonical path, None where there is none."""
    try:
        status = root.stat(path)
    except RootfsError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sqlite(root: Root, path: str) -> Iterator[Record]:
    try:
        with _connection(root, path) as connection:
            kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchone()
            if kind != ("table",):
                raise DatabaseError(f"{root.show(path)} holds no table of packages")
            numbers = [number for (number,) in connection.execute("SELECT hnum FROM Packages ORDER BY hnum")]
            for number in numbers:
                yield _row(connection, number)
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(
            f"cannot read the rpm database {root.show(path)}: {error}",
            hint="check it with `rpm --root ROOTFS --rebuilddb`, or leave it out with --prune",
        ) from error


def _row(connection: sqlite3.Connection, number: int) -> Record:
    try:
        row = connection.execute("SELECT blob FROM Packages WHERE hnum = ?", (number,)).fetchone()
    except sqlite3.DatabaseError as error:
        return HeaderError(f"package {number} of the rpm database: {error}")
    if row is None or not isinstance(row[0], bytes):
        return HeaderError(f"package {number} of the rpm database is no blob")
    return row[0]


@contextmanager
def _connection(root: Root, path: str) -> Iterator[sqlite3.Connection]:
    """Open a database as it was committed, with its write-ahead log or without what its journal undoes.

    SQLite opens a database in WAL mode on a read-only file system only as immutable, and then ignores its log
    (sqlite.org/wal.html, "Read-Only Databases"). So where there is a log, a private copy of both is opened.
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
    with tempfile.TemporaryDirectory(prefix="rechunk-rpmdb-") as folder:
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
                # a mapping slices and unpacks as bytes do
                yield from parse(data)  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            raise DatabaseError(f"cannot read the rpm database {root.show(path)}: {error}") from error
        finally:
            os.close(descriptor)

    return read


FORMATS: dict[str, Callable[[Root, str], Iterator[Record]]] = {
    "rpmdb.sqlite": _sqlite,
    "Packages.db": _mapped(rpm_ndb.parse),
    "Packages": _mapped(rpm_bdb.parse),
}
"""Name of a database -> what reads its records."""
