"""dpkg's database, read from a root filesystem: what is installed, its files, their digests, its times.

Formats: see dpkg_text.py. Reads alone: no Tree is needed, so that it can be done while that is scanned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.dpkg import text as dpkg_text
from rechunk_podman.packages.dpkg.text import Diversion, Package
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

PLACES = ("var/lib/dpkg", "usr/lib/sysimage/dpkg")
STATE = ("var/lib/apt", "var/cache/apt", "var/cache/debconf")
"""What apt and debconf record of every transaction."""

_DOC = "usr/share/doc/"
_HINT = "repair it, or leave it out with --prune"


class Installed(NamedTuple):
    """An installed binary package; plain values alone.

    info: canonical paths of what the database keeps of it. stamp: mtime of its list of files, epoch seconds,
    None where it has no list. paths: as the database has them, without the first slash, diversions done.
    recorded: a byte for each, 1 where its MD5 is recorded; digests: those MD5s, joined. times: of its
    changelogs' entries, epoch seconds.
    """

    place: str
    name: str
    source: str
    version: str
    info: list[str]
    stamp: float | None
    paths: list[str]
    recorded: bytes
    digests: bytes
    times: list[int]


class Database(NamedTuple):
    """All of dpkg's databases. own: canonical paths of the directories that hold them, and apt's state."""

    installed: list[Installed]
    own: list[str]


def load(root: Root) -> Database | None:
    """Every database in PLACES, None where there is none. A broken record costs that record (a warning).

    Raises:
        DatabaseError: a status file is there and cannot be read.
    """
    places = [place for place in dict.fromkeys(map(root.place, PLACES)) if _holds_database(root, place)]
    if not places:
        return None
    changelogs = _Changelogs(root)
    installed: list[Installed] = []
    for place in places:
        diverted = dpkg_text.diversions(_read(root, f"{place}/diversions"))
        for package, info, listing, sums in (*_regular(root, place), *_distroless(root, place)):
            paths, recorded, digests = _files(root, package, listing, sums, diverted)
            stamp = root.stat(listing).st_mtime if listing else None
            times = changelogs.times(package.name)
            own = (package.name, package.source, package.version)
            installed.append(Installed(place, *own, info, stamp, paths, recorded, digests, times))
    return Database(installed, [*places, *map(root.place, STATE)])


def _exists(root: Root, path: str) -> bool:
    try:
        root.stat(path)
    except RootfsError:
        return False
    return True


def _holds_database(root: Root, place: str) -> bool:
    return _exists(root, f"{place}/status") or _exists(root, f"{place}/status.d")


def _read(root: Root, path: str) -> bytes:
    """The content of a file of the database, b"" where it is missing or unreadable (with a warning)."""
    if not path:
        return b""
    # most are where their path says, and then this is all there is to do
    with suppress(RootfsError):
        return root.read(path)
    if not _exists(root, path):
        return b""
    try:
        return root.read(root.resolve(path))
    except RootfsError as error:
        log.warning("dpkg database: %s", error)
        return b""


def _packages(root: Root, path: str) -> Iterator[Package]:
    """The packages of a status file.

    Raises:
        DatabaseError: it cannot be read.
    """
    try:
        data = root.read(path, 1 << 30)
    except RootfsError as error:
        raise DatabaseError(
            f"cannot read dpkg's database {root.show(path)}",
            context=[error.message],
            hint=error.hint or _HINT,
        ) from error
    for fields in dpkg_text.stanzas(data):
        try:
            package = dpkg_text.package(fields)
        except ValueError as error:
            log.warning("dpkg database: a record of %s is left out: %s", root.show(path), error)
            continue
        if package is not None:
            yield package


def _regular(root: Root, place: str) -> Iterator[tuple[Package, list[str], str, str]]:
    """The packages of `status`, with info/PKG.* or, where several architectures may be, info/PKG:ARCH.*.

    Yields:
        (package, what is kept of it, its list or "", its md5sums)
    """
    status = f"{place}/status"
    if not _exists(root, status):
        return
    info: dict[str, list[str]] = {}
    prefix = f"{place}/info/"
    for name in root.names(f"{place}/info"):
        info.setdefault(name.rpartition(".")[0], []).append(prefix + name)
    for package in _packages(root, status):
        stem = f"{package.name}:{package.architecture}"
        listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            stem = package.name
            listing = f"{prefix}{stem}.list"
        if listing not in info.get(stem, ()):
            log.warning("dpkg database: %s has no list of files", package.name)
            listing = ""
        yield package, info.get(stem, []), listing, f"{prefix}{stem}.md5sums"


def _distroless(root: Root, place: str) -> Iterator[tuple[Package, list[str], str, str]]:
    """The packages of status.d/NAME, with NAME.md5sums and perhaps NAME.list beside it; as _regular()."""
    prefix = f"{place}/status.d/"
    names: dict[str, list[str]] = {}
    for name in root.names(f"{place}/status.d"):
        stem = name
        for suffix in (".md5sums", ".list"):
            stem = stem.removesuffix(suffix)
        names.setdefault(stem, []).append(prefix + name)
    for stem, found in names.items():
        if prefix + stem in found:
            listing, sums = f"{prefix}{stem}.list", f"{prefix}{stem}.md5sums"
            for package in _packages(root, root.place(prefix + stem)):
                yield (
                    package,
                    found,
                    listing if listing in found else "",
                    sums if sums in found else "",
                )


def _files(
    root: Root, package: Package, listing: str, sums: str, diverted: dict[str, Diversion]
) -> tuple[list[str], bytes, bytes]:
    """A package's paths, diversions done, and what is recorded of them: see Installed."""
    known = dict(package.conffiles)
    known.update(dpkg_text.md5sums(_read(root, sums)))
    listed = dpkg_text.paths(_read(root, listing)) if listing else list(known)
    found = list(map(known.get, listed))
    if not diverted.keys().isdisjoint(listed):
        listed = [
            path
            if (diversion := diverted.get(path)) is None or diversion.package == package.name
            else diversion.target
            for path in listed
        ]
    return listed, bytes(map(bool, found)), bytes.fromhex("".join(filter(None, found)))


class _Changelogs:
    """The changelog*.gz of every package, by the directory in which they are."""

    __slots__ = ("_known", "_root")

    def __init__(self, root: Root) -> None:
        self._root = root
        self._known: dict[tuple[bytes, int], list[int]] = {}

    def times(self, package: str) -> list[int]:
        """Epoch seconds of all entries of a package's changelogs; none where there are none."""
        times: list[int] = []
        directory = self._root.place(_DOC + package)
        for name in self._root.names(directory):
            if not (name.startswith("changelog") and name.endswith(".gz")):
                continue
            path = f"{directory}/{name}"
            data = _read(self._root, path)
            # The packages of one source have the same changelog. RFC 1952, 2.3.1: the CRC of what is packed,
            # and its length; and here its packed length.
            key = (data[-8:], len(data))
            if key not in self._known:
                try:
                    self._known[key] = dpkg_text.changelog_times(data) if data else []
                except ValueError as error:
                    log.warning("%s: %s", self._root.show(path), error)
                    self._known[key] = []
            times += self._known[key]
        return times
