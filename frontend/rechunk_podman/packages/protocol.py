"""The protocol of a package ecosystem: the promises of its reader, and the values that it returns.

An ecosystem is a module in the list ECOSYSTEMS (ecosystems.py). Components, `changelog` and `lint` use
package managers only through this protocol. docs/adding-an-ecosystem.md describes how to write one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import path_key
from rechunk_podman.packages.digests import Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.rootfs.root import Root

Numbers = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]


class Paths:
    """Paths in one buffer, which takes a third of the memory of a list of strings.

    joined: their bytes, a zero byte behind each.
    """

    __slots__ = ("joined",)

    def __init__(self, paths: Sequence[str] = ()) -> None:
        text = "\0".join([*paths, ""])
        # No file has such a name, so a broken record that lists it finds no file.
        if text.count("\0") != len(paths):
            text = "\0".join([*(path.replace("\0", "\ufffd") for path in paths), ""])
        try:
            self.joined = path_key(text)
        except UnicodeEncodeError:
            self.joined = text.encode("utf-8", "replace")

    def unpack(self) -> list[str]:
        """Return the paths."""
        return self.joined.decode("utf-8", "surrogateescape").split("\0")[:-1]


@dataclass(frozen=True, slots=True)
class Files:
    """The paths that a package lists, in columns; directories and symlinks are among them.

    A column has one value for each path. It is None where the database does not record it.

    paths: as the database writes them, without the leading slash. They may lead through symlinks, and may not
        exist.
    installed: True if the path on the disk belongs to this package; None: all do.
    packaged: True for a regular file with content of the package; None: all regular files.
    digests: of the packaged contents.
    sizes: bytes.
    modes: permission bits.
    mtimes: epoch seconds.
    """

    paths: Paths
    installed: Flags | None = None
    packaged: Flags | None = None
    digests: Digests | None = None
    sizes: Numbers | None = None
    modes: Numbers | None = None
    mtimes: Numbers | None = None


NO_FILES = Files(Paths())


@dataclass(frozen=True, slots=True)
class Package:
    """A package as the database records it.

    name: of the binary package.
    version: as the package manager shows it, with its epoch.
    source: name of the source package, which names the component; `name` if there is none.
    source_version: version of the source package.
    architecture: as the package manager writes it; "" if unknown.
    is_removed: True if only configuration files of the package remain.
    built: epoch seconds of the build; None if unknown.
    unpacked: epoch seconds of the installation (0 if unknown) if the newest of the older files may stand in
        for `built`; else None.
    changes: epoch seconds of the entries of its changelog, in any order.
    files: the paths that it lists.
    info: canonical paths of the files that the database keeps for this package alone.
    trees: canonical paths of directories in which every path that no package lists belongs to this package.
        Of nested trees the innermost counts.
    record: canonical path of the file that records this package alone; "" if there is none. If a package of
        an earlier ecosystem holds that file, this package is left out: it is a part of that one.
    """

    name: str
    version: str
    source: str
    source_version: str
    architecture: str = ""
    is_removed: bool = False
    built: int | None = None
    unpacked: float | None = None
    changes: Sequence[int] = ()
    files: Files = NO_FILES
    info: Sequence[str] = ()
    trees: Sequence[str] = ()
    record: str = ""


@dataclass(frozen=True, slots=True)
class Database:
    """Everything that the databases of one package manager record.

    directories: canonical paths of the directories that hold them, and of single files.
    """

    packages: Sequence[Package]
    directories: Sequence[str] = ()


class Ecosystem(Protocol):
    """The reader of one package manager's databases. Modules implement it.

    name: the source in the ids of its components, `NAME/…`. Ledgers record it: it never changes.
    locations: of its databases; `changelog` and `lint` use them, too.

    A reader promises:

    * Cost. One pass over the database: each of its files is read once, work and memory grow linearly with the
      records, and no file of a package is opened. Properties of files are in columns (numpy arrays, lists of
      strings), without an object for each file: there may be a million. Reads are limited in size.
      Without `files` neither lists of files nor changelogs are read.
    * Budget. No size that a database claims is believed. Records, bytes read and bytes kept are counted on
      one Budget (budget.py) before they are allocated, and loops over them stay linear: no database takes
      more than 256 MiB or ten seconds. One that claims more cannot be read as a whole.
    * Order. Whatever the order of the records, callers get equal packages: no first or last record wins.
      Callers sort.
    * Errors. load() raises only DatabaseError, for a database that exists and cannot be read as a whole (the
      message names it), and the RootfsError of `root`, if permissions forbid to read. A broken record costs
      only this record and a warning with the names of both (Budget.warn_left_out()). An absent database is
      None, after a few calls of stat.
    * Confinement. Everything is read through `root`, which follows no symlink out of the root filesystem.
      Nothing is written into it.
    * Purity. Parsing is separate from reading: load() reads, and functions of bytes or text parse.
    * Threads. load() may run in a worker while the root filesystem is scanned, with a Root of its own; the
      module holds no state.
    """

    name: str
    locations: Locations

    def load(self, root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
        """Return the content of the databases, or None if there is no database.

        Args:
            records: the paths that match `locations.scattered`, and those that match `locations.embedded` and
                belong to no package of an earlier ecosystem. An ecosystem without such globs gets none, and
                may be loaded before the root filesystem has been scanned.
            files: False leaves out `built`, `changes`, `files`, `info`, `trees` and `record`.

        Raises:
            DatabaseError: a database exists and cannot be read as a whole.
            RootfsError: permissions forbid to read a directory or a file of it.
        """

    def compare(self, a: str, b: str) -> int:
        """Return -1, 0 or 1 if `a` is older than, equal to or newer than `b`. Any text is a version."""
