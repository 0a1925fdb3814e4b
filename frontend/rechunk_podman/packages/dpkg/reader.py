"""The reader of dpkg's databases: status with info/, and status.d of distroless images.

Formats: see text.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.digests import MD5, Digests
from rechunk_podman.packages.dpkg import text as dpkg_text
from rechunk_podman.packages.dpkg.text import Diversion
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Files, Package, Paths, warn_left_out
from rechunk_podman.packages.versions import compare_dpkg
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "dpkg"
_DIRECTORIES = ("var/lib/dpkg", "usr/lib/sysimage/dpkg")
locations = Locations(
    directories=_DIRECTORIES,
    databases=("status",),
    records=("status.d/*",),
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

_DOC = "usr/share/doc/"
_MOST_STATUS = 1 << 30
"""Bytes of the largest status file that is read."""


class _Record(NamedTuple):
    """A package, and the canonical paths of what the database keeps of it.

    info: all files. listing: the list of paths, "" where there is none. sums: the MD5 sums.
    """

    package: dpkg_text.Package
    info: Sequence[str] = ()
    listing: str = ""
    sums: str = ""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return what the databases record: see Ecosystem.load()."""
    found = dict.fromkeys(map(root.resolve_or_keep, locations.directories))
    directories = [directory for directory in found if _holds_database(root, directory)]
    if not directories:
        return None
    changelogs = _Changelogs(root)
    packages: list[Package] = []
    for directory in directories:
        recorded = [*_regular(root, directory, files), *_distroless(root, directory)]
        if not files:
            packages += [_plain(record.package) for record in recorded]
            continue
        diverted = dpkg_text.diversions(_read(root, f"{directory}/diversions"))
        packages += [_full(root, record, diverted, changelogs) for record in recorded]
    return Database(packages, directories)


def _plain(package: dpkg_text.Package) -> Package:
    return Package(
        package.name,
        package.version,
        package.source,
        package.source_version,
        package.architecture,
        package.is_removed,
    )


def _full(root: Root, record: _Record, diverted: Mapping[str, Diversion], changelogs: _Changelogs) -> Package:
    package = record.package
    times = changelogs.times(package.name)
    return replace(
        _plain(package),
        built=max(times, default=None),
        # dpkg writes the list when it has unpacked
        unpacked=root.stat(record.listing).st_mtime if record.listing else 0,
        changes=times,
        files=_files(root, record, diverted),
        info=record.info,
    )


def _files(root: Root, record: _Record, diverted: Mapping[str, Diversion]) -> Files:
    """Return a package's files, diversions applied."""
    package = record.package
    known = {**package.conffiles, **dpkg_text.md5sums(_read(root, record.sums))}
    listed = dpkg_text.paths(_read(root, record.listing)) if record.listing else list(known)
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


def _read(root: Root, path: str) -> bytes:
    """Return the content of a file of the database, b"" where it is missing or (a warning) unreadable."""
    if not path:
        return b""
    # most files are where their path says
    with suppress(RootfsError):
        return root.read(path)
    if not _exists(root, path):
        return b""
    try:
        return root.read(root.resolve(path))
    except RootfsError as error:
        log.warning("dpkg database: %s", error)
        return b""


def _packages(root: Root, path: str) -> Iterator[dpkg_text.Package]:
    """Yield the packages of a status file.

    Raises:
        DatabaseError: it cannot be read.
    """
    try:
        data = root.read(path, _MOST_STATUS)
    except RootfsError as error:
        raise DatabaseError(
            f"cannot read dpkg's database {root.show(path)}",
            context=[error.message],
            hint=error.hint or "repair it, or leave it out with --prune",
        ) from error
    for fields in dpkg_text.stanzas(data):
        try:
            package = dpkg_text.package(fields)
        except ValueError as error:
            warn_left_out(root.show(path), fields.get("package", ""), error)
            continue
        if package is not None:
            yield package


def _regular(root: Root, directory: str, files: bool) -> Iterator[_Record]:
    """Yield the packages of `status`, with info/PKG.*, or info/PKG:ARCH.* where several architectures may be.

    Args:
        files: False leaves info/ out.
    """
    status = f"{directory}/status"
    if not _exists(root, status):
        return
    info: dict[str, list[str]] = {}
    prefix = f"{directory}/info/"
    for file in root.names(f"{directory}/info") if files else ():
        info.setdefault(file.rpartition(".")[0], []).append(prefix + file)
    for package in _packages(root, status):
        if not files:
            yield _Record(package)
            continue
        stem = f"{package.name}:{package.architecture}"
        listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            stem = package.name
            listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            log.warning("%s: the package %s has no list of files", root.show(status), package.name)
            listing = ""
        yield _Record(package, info.get(stem, ()), listing, f"{prefix}{stem}.md5sums")


def _distroless(root: Root, directory: str) -> Iterator[_Record]:
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
            for package in _packages(root, root.resolve_or_keep(prefix + stem)):
                yield _Record(
                    package, found, listing if listing in found else "", sums if sums in found else ""
                )


class _Changelogs:
    """The times in the changelog*.gz of packages."""

    __slots__ = ("_known", "_root")

    def __init__(self, root: Root) -> None:
        self._root = root
        self._known: dict[tuple[bytes, int], list[int]] = {}

    def times(self, package: str) -> list[int]:
        """Return the epoch seconds of all entries of a package's changelogs, none where there are none."""
        times: list[int] = []
        directory = self._root.resolve_or_keep(_DOC + package)
        for file in self._root.names(directory):
            if not (file.startswith("changelog") and file.endswith(".gz")):
                continue
            path = f"{directory}/{file}"
            data = _read(self._root, path)
            # The packages of one source have the same changelog. RFC 1952, 2.3.1: the CRC of the content, and
            # its length; and here the length of the compressed data.
            key = (data[-8:], len(data))
            if key not in self._known:
                try:
                    self._known[key] = dpkg_text.changelog_times(data) if data else []
                except ValueError as error:
                    log.warning("%s: %s", self._root.show(path), error)
                    self._known[key] = []
            times += self._known[key]
        return times
