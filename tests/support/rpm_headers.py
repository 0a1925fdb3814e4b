"""Headers and databases of rpm, written by hand: what no rpm at hand would write."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.packages.rpm import header as tags

Value = str | int | Sequence[int] | Sequence[str]

KINDS = {
    tags.FILESTATES: (1, "B"),
    tags.FILEMODES: (3, "H"),
    tags.LONGFILESIZES: (5, "Q"),
}


def header(values: Mapping[int, Value]) -> bytes:
    """A record of the rpm database."""
    index, store = b"", b""
    for tag, value in values.items():
        if isinstance(value, str):
            kind, count, data = 6, 1, value.encode("utf-8", "surrogateescape") + b"\0"
        elif not isinstance(value, int) and value and isinstance(value[0], str):
            kind, count = 8, len(value)
            data = b"".join(str(text).encode("utf-8", "surrogateescape") + b"\0" for text in value)
        else:
            numbers = [value] if isinstance(value, int) else list(value)
            kind, code = KINDS.get(tag, (4, "I"))
            count, data = len(numbers), struct.pack(f">{len(numbers)}{code}", *numbers)
        index += struct.pack(">IIiI", tag, kind, len(store), count)
        store += data
    return struct.pack(">II", len(values), len(store)) + index + store


def package(
    name: str,
    root: Path | None = None,
    paths: Sequence[str] = (),
    *,
    source: str = "",
    built: int = 1_700_000_000,
    changes: Sequence[int] = (),
    **overrides: Value,
) -> bytes:
    """The record of a package that holds these absolute paths as they stand in `root`.

    Args:
        source: name-version-release of the source package.
        overrides: constants of rpm_header -> value.
    """
    values: dict[int, Value] = {tags.NAME: name, tags.VERSION: "1", tags.RELEASE: "2"}
    values[tags.SOURCERPM] = f"{source or name + '-1-2'}.src.rpm"
    values[tags.BUILDTIME] = built
    if changes:
        values[tags.CHANGELOGTIME] = list(changes)
    if paths and root is not None:
        folders = sorted({path.rpartition("/")[0] + "/" for path in paths})
        stats = [os.lstat(f"{root}{path}") for path in paths]
        values[tags.DIRNAMES] = folders
        values[tags.DIRINDEXES] = [folders.index(path.rpartition("/")[0] + "/") for path in paths]
        values[tags.BASENAMES] = [path.rpartition("/")[2] for path in paths]
        values[tags.FILESIZES] = [status.st_size for status in stats]
        values[tags.FILEMODES] = [status.st_mode for status in stats]
        values[tags.FILEMTIMES] = [int(status.st_mtime) for status in stats]
        values[tags.FILESTATES] = [0] * len(paths)
        values[tags.FILEFLAGS] = [0] * len(paths)
        values[tags.FILEDIGESTALGO] = 8
        values[tags.FILEDIGESTS] = [_sha256(Path(f"{root}{path}")) for path in paths]
    for key, value in overrides.items():
        values[getattr(tags, key)] = value
    return header(values)


SOUND = package(
    "name",
    built=5,
    changes=[3, 2, 1],
    DIRNAMES=["/a/", "/b/"],
    DIRINDEXES=[0, 1, 1],
    BASENAMES=["x", "y", "z"],
    FILESIZES=[1, 2, 3],
    FILEMODES=[0o100644, 0o100755, 0o40755],
    FILEDIGESTS=["00" * 32, "11" * 32, ""],
    FILEDIGESTALGO=8,
)
"""A header of two files and a directory, to be damaged."""


class RpmFile(NamedTuple):
    """A path of a package, as a header records it. mode: with its file type."""

    path: str
    size: int
    mode: int
    mtime: int
    state: int
    flags: int
    digest: str


def files(parsed: tags.Header) -> list[RpmFile]:
    """Return the columns of a header, path by path."""
    columns = parsed.columns()
    directories = map(columns.directories.__getitem__, columns.indexes.tolist())
    paths = [directory + name for directory, name in zip(directories, columns.names, strict=True)]
    numbers = (column.tolist() for column in columns[3:8])
    return list(map(RpmFile, paths, *numbers, columns.digests))


def _sha256(path: Path) -> str:
    return "" if path.is_symlink() or not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()


def sqlite_database(path: Path, records: Sequence[bytes]) -> None:
    """Writes an rpmdb.sqlite that holds these records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
        )
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(record,) for record in records])


PAGE = 4096
"""Bytes of a page of the database below."""


def ndb_database(path: Path, records: Sequence[bytes]) -> None:
    """Write a Packages.db that holds these records, which fit into one page of slots (rpmpkg.c)."""
    slots, blobs = struct.pack("<4sIII16x", b"RpmP", 0, 1, 1), b""
    for number, record in enumerate(records, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(record)) + record
        blob += bytes(-len(blob) % 16)
        slots += struct.pack("<4sIII", b"Slot", number, (PAGE + len(blobs)) // 16, len(blob) // 16)
        blobs += blob
    slots += b"Slot".ljust(16, b"\0") * ((PAGE - len(slots)) // 16)
    path.write_bytes(slots + blobs)
