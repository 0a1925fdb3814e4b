"""The reader of dpkg's databases: status with info/, and status.d of distroless images.

Formats: see text.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.budget import NAME_COST, PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.digests import MD5, Digests
from rechunk_podman.packages.dpkg import text as dpkg_text
from rechunk_podman.packages.dpkg.text import Diversion
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.packages.versions import compare_dpkg
from rechunk_podman.rootfs.root import Root

name = "dpkg"
_DIRECTORIES = ("var/lib/dpkg", "usr/lib/sysimage/dpkg")
locations = Locations(
    directories=_DIRECTORIES,
    databases=("status",),
    records=("status.d/*",),
    # the changelog of some packages is a symlink to their news
    details=("usr/share/doc/*/changelog*.gz", "usr/share/doc/*/NEWS*.gz"),
    state=("var/lib/apt", "var/cache/apt", "var/cache/debconf"),
    journals=(
        *(
            f"{directory}/{file}"
            for directory in _DIRECTORIES
            for file in ("*-old", "lock", "lock-frontend", "triggers/Lock")
        ),
        "var/cache/debconf/*-old",
        "var/lib/apt/lists/lock",
        "var/cache/apt/archives/lock",
    ),
    caches=(
        "var/cache/apt/archives/**.deb",
        "var/cache/apt/pkgcache.bin",
        "var/cache/apt/srcpkgcache.bin",
        "var/lib/apt/lists/*_*",
        "var/lib/apt/lists/auxfiles/**",
    ),
)
compare = compare_dpkg

_HINT = "repair it: dpkg keeps the status before this one as status-old"
_DOC = "usr/share/doc/"
_MOST_STATUS = 32 << 20
"""Bytes of the largest status file that is read, a third of one with all packages of Debian."""
_MOST_LINES = 2_000_000
"""Lines of a status file."""
_LINE = 512 << 10
"""The longest line of a status file, in bytes."""
_MOST_INFO = 16 << 20
"""Bytes of a list of files, or of MD5 sums."""
_MOST_CHANGELOGS = 256 << 20
"""Bytes of all changelogs, decompressed."""
_COPIES = 5
"""Copies of the content of such a file in memory while it is parsed."""
_LISTED_COST = 64
"""Bytes that are counted as read for a name in a directory."""
_TIME_COST = 40
"""Bytes of memory of a time in a list."""


class _Record(NamedTuple):
    """A package, and the canonical paths of its files in the database.

    info: all files. listing: the list of paths, or "". sums: the MD5 sums.
    """

    package: dpkg_text.Package
    info: Sequence[str] = ()
    listing: str = ""
    sums: str = ""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the databases: see Ecosystem.load()."""
    found = dict.fromkeys(map(root.resolve_or_keep, locations.directories))
    directories = [directory for directory in found if _holds_database(root, directory)]
    if not directories:
        return None
    budget = Budget(root.show(directories[0]))
    changelogs = _Changelogs(root, budget)
    packages: list[Package] = []
    for directory in directories:
        budget.database = root.show(directory)
        diverted = _diversions(root, directory, budget) if files else {}
        for record in chain(_regular(root, directory, budget, files), _distroless(root, directory, budget)):
            if not files:
                packages.append(_plain(record.package))
                continue
            try:
                packages.append(_full(root, record, diverted, changelogs, budget))
            except ValueError as error:
                budget.warn_left_out(record.package.name, error)
    budget.require_a_record(packages)
    return Database(packages, directories)


def _diversions(root: Root, directory: str, budget: Budget) -> Mapping[str, Diversion]:
    path = f"{directory}/diversions"
    try:
        return dpkg_text.diversions(_read(root, path, budget))
    except ValueError as error:
        budget.warn("%s: %s: no diversion is read", root.show(path), error)
        return {}


def _plain(package: dpkg_text.Package) -> Package:
    return Package(
        package.name,
        package.version,
        package.source,
        package.source_version,
        package.architecture,
        package.is_removed,
    )


def _full(
    root: Root,
    record: _Record,
    diverted: Mapping[str, Diversion],
    changelogs: _Changelogs,
    budget: Budget,
) -> Package:
    """Return a package with its files.

    Raises:
        ValueError: a list of files is absurdly long.
        DatabaseError: the budget is spent.
    """
    package = record.package
    budget.read(_LISTED_COST * len(record.info))
    times = changelogs.times(package.name)
    budget.keep(_TIME_COST * len(times))
    return replace(
        _plain(package),
        built=max(times, default=None),
        # dpkg writes the list when it has unpacked
        unpacked=root.stat(record.listing).st_mtime if record.listing else 0,
        changes=times,
        files=_files(root, record, diverted, budget),
        info=record.info,
    )


def _files(root: Root, record: _Record, diverted: Mapping[str, Diversion], budget: Budget) -> Files:
    """Return a package's files, with diversions applied; raise the errors of _full()."""
    package = record.package
    known = {**package.conffiles, **dpkg_text.md5sums(_read(root, record.sums, budget))}
    listed = dpkg_text.paths(_read(root, record.listing, budget)) if record.listing else list(known)
    size = texts_size(listed)
    budget.keep(size + NAME_COST * len(listed), size)
    digests = Digests.parse(list(map(known.get, listed)), MD5)
    if not diverted.keys().isdisjoint(listed):
        listed = [
            path
            if (diversion := diverted.get(path)) is None or diversion.package == package.name
            else diversion.target
            for path in listed
        ]
    return Files(Paths(listed), digests=digests)


def _exists(root: Root, path: str) -> bool:
    try:
        root.stat(path)
    except RootfsError:
        return False
    return True


def _holds_database(root: Root, directory: str) -> bool:
    return _exists(root, f"{directory}/status") or _exists(root, f"{directory}/status.d")


def _read(root: Root, path: str, budget: Budget, *, is_text: bool = True) -> bytes:
    """Return the content of a file of the database, b"" if it is missing or (with a warning) unreadable.

    Raises:
        DatabaseError: the budget is spent.
    """
    data = b""
    # most paths need no symlink to be resolved
    with suppress(RootfsError):
        data = root.read(path, _MOST_INFO) if path else b""
    if not data and path and _exists(root, path):
        try:
            data = root.read(root.resolve(path), _MOST_INFO)
        except RootfsError as error:
            budget.warn("dpkg database: %s", error)
    budget.read(len(data))
    budget.keep(0, _COPIES * (dpkg_text.decoded_size(data) if is_text else len(data)))
    return data


def _packages(root: Root, path: str, budget: Budget) -> Iterator[dpkg_text.Package]:
    """Yield the packages of a status file.

    Raises:
        DatabaseError: the file cannot be read, or the budget is spent.
    """
    try:
        data = root.read(path, _MOST_STATUS)
    except RootfsError as error:
        raise DatabaseError(
            f"cannot read dpkg's database {root.show(path)}",
            context=[error.message],
            hint=error.hint or _HINT,
        ) from error
    budget.read(len(data))
    if data.count(b"\n") > _MOST_LINES:
        raise budget.exceeded(f"more than {_MOST_LINES} lines")
    if any(data.find(b"\n", end - _LINE, end) < 0 for end in range(_LINE, len(data), _LINE)):
        raise budget.exceeded(f"a line of more than {_LINE >> 10} KiB")
    for fields in dpkg_text.stanzas(data):
        budget.record()
        try:
            package = dpkg_text.package(fields)
        except ValueError as error:
            budget.warn_left_out(fields.get("package", ""), error)
            continue
        if package is not None:
            budget.keep(PACKAGE_COST, texts_size(fields.values()))
            yield package


def _regular(root: Root, directory: str, budget: Budget, files: bool) -> Iterator[_Record]:
    """Yield the packages of `status`, with info/PKG.*, or info/PKG:ARCH.* for multi-arch packages.

    Args:
        files: False skips info/.
    """
    status = f"{directory}/status"
    if not _exists(root, status):
        return
    info: dict[str, list[str]] = {}
    prefix = f"{directory}/info/"
    for file in root.names(f"{directory}/info") if files else ():
        info.setdefault(file.rpartition(".")[0], []).append(prefix + file)
    for package in _packages(root, status, budget):
        if not files:
            yield _Record(package)
            continue
        stem = f"{package.name}:{package.architecture}"
        listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            stem = package.name
            listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            budget.warn("%s: the package %s has no list of files", root.show(status), package.name)
            listing = ""
        yield _Record(package, info.get(stem, ()), listing, f"{prefix}{stem}.md5sums")


def _distroless(root: Root, directory: str, budget: Budget) -> Iterator[_Record]:
    """Yield the packages of status.d/NAME, with NAME.md5sums and perhaps NAME.list beside it."""
    prefix = f"{directory}/status.d/"
    names: dict[str, list[str]] = {}
    for file in root.names(f"{directory}/status.d"):
        stem = file
        for suffix in (".md5sums", ".list"):
            stem = stem.removesuffix(suffix)
        names.setdefault(stem, []).append(prefix + file)
    for stem, found in names.items():
        if prefix + stem in found:
            listing, sums = f"{prefix}{stem}.list", f"{prefix}{stem}.md5sums"
            for package in _packages(root, root.resolve_or_keep(prefix + stem), budget):
                yield _Record(
                    package, found, listing if listing in found else "", sums if sums in found else ""
                )


class _Changelogs:
    """The times in the changelog*.gz of packages."""

    __slots__ = ("_budget", "_known", "_left", "_root")

    def __init__(self, root: Root, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._left = _MOST_CHANGELOGS
        self._known: dict[tuple[bytes, int], list[int]] = {}

    def times(self, package: str) -> list[int]:
        """Return the epoch seconds of all entries in a package's changelogs.

        Raises:
            DatabaseError: the budget is spent.
        """
        times: list[int] = []
        directory = self._root.resolve_or_keep(_DOC + package)
        names = self._root.names(directory)
        self._budget.read(_LISTED_COST * len(names))
        for file in names:
            if not (file.startswith("changelog") and file.endswith(".gz")):
                continue
            path = f"{directory}/{file}"
            data = _read(self._root, path, self._budget, is_text=False)
            # The packages of one source share a changelog. It is identified by the CRC and the length of the
            # content (RFC 1952, 2.3.1), and the length of the compressed data.
            key = (data[-8:], len(data))
            if key not in self._known:
                self._known[key] = self._parse(path, data)
            times += self._known[key]
        return times

    def _parse(self, path: str, data: bytes) -> list[int]:
        """Return the times of a new changelog; if it is broken, warn and return none."""
        if not data or self._left < 0:
            return []
        try:
            text = dpkg_text.changelog(data)
            self._left -= len(text) or dpkg_text.FIRST_ENTRY
            if self._left < 0:
                self._budget.warn("%s: no changelog is read after this one", self._root.show(path))
            times = dpkg_text.changelog_times(text)
        except ValueError as error:
            self._budget.warn("%s: %s", self._root.show(path), error)
            return []
        self._budget.keep(_TIME_COST * len(times))
        return times
