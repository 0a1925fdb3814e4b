"""The packages of an image: by the databases in its root filesystem, else by its Ledger.

Sources: rpm's tags.md; dpkg's status, and status.d of distroless images (deb-control(5)).
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cmp_to_key
from pathlib import Path

from rechunk_podman.errors import DatabaseError, ImageError, RootfsError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.flatten import read_tree
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.tar import Content, Member
from rechunk_podman.packages.dpkg import text as dpkg_text
from rechunk_podman.packages.rpm import database as rpm_db
from rechunk_podman.packages.rpm import header as rpm_header
from rechunk_podman.packages.rpm.header import Header, HeaderError
from rechunk_podman.packages.versions import compare
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.rootfs.root import Root

log = logging.getLogger(__name__)

SOURCES = ("rpm", "dpkg", "apk", "alpm", "pacman", "gentoo", "portage")
"""Sources of components that are packages."""

DPKG_PLACES = ("var/lib/dpkg", "usr/lib/sysimage/dpkg")
_DATABASE_FILES = (
    "rpmdb.sqlite",
    "rpmdb.sqlite-wal",
    "rpmdb.sqlite-journal",
    "Packages.db",
    "Packages",
    "status",
)


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a package, and by which rules it is compared ("rpm", "dpkg", …)."""

    source: str
    text: str

    @property
    def upstream(self) -> str:
        """Without epoch and release."""
        rest = self._rest
        return rest.rpartition("-")[0] or rest

    @property
    def with_release(self) -> str:
        """Without epoch."""
        return self._rest

    @property
    def _rest(self) -> str:
        epoch, colon, rest = self.text.partition(":")
        return rest if colon and epoch.isdecimal() else self.text


@dataclass(frozen=True, slots=True)
class Packages:
    """Package name -> version. binary: what is installed, none where only a Ledger was read; sources: what
    it was built from. Of several versions of a package the newest."""

    sources: Mapping[str, Version] = field(default_factory=dict)
    binary: Mapping[str, Version] = field(default_factory=dict)


def of_ledger(ledger: Ledger) -> Packages:
    """The source packages that an image's Ledger names; the version "" where space was short."""
    return Packages(
        _newest(
            (ident.name, Version(ident.source, entry.version))
            for ident, entry in ledger.components.items()
            if ident.source in SOURCES
        )
    )


def of_root(root: Root) -> Packages:
    """The packages of a root filesystem. A broken record costs its package, with a warning.

    Raises:
        DatabaseError: a database is there and cannot be read.
    """
    binary: list[tuple[str, Version]] = []
    sources: list[tuple[str, Version]] = []
    for found in (_rpm(root), _dpkg(root)):
        for name, version, source, source_version in found:
            binary.append((name, version))
            sources.append((source, source_version))
    return Packages(_newest(sources), _newest(binary))


def _newest(found: Iterable[tuple[str, Version]]) -> dict[str, Version]:
    versions: dict[str, list[Version]] = {}
    for name, version in found:
        versions.setdefault(name, []).append(version)
    return {name: max(those, key=cmp_to_key(_order)) for name, those in sorted(versions.items())}


def _order(a: Version, b: Version) -> int:
    return compare(b.source, a.text, b.text)


def _rpm(root: Root) -> Iterator[tuple[str, Version, str, Version]]:
    paths = rpm_db.databases(root)
    for record in rpm_db.records(root, paths) if paths else ():
        try:
            if isinstance(record, HeaderError):
                raise record
            header = Header(record)
            name = header.string(rpm_header.NAME)
            text = f"{header.string(rpm_header.VERSION)}-{header.string(rpm_header.RELEASE)}"
            if epoch := header.number(rpm_header.EPOCH):
                text = f"{epoch}:{text}"
            source, source_version = header.source()
        except HeaderError as error:
            log.warning("rpm database: a package is left out: %s", error)
            continue
        if name and name != "gpg-pubkey":
            yield name, Version("rpm", text), source, Version("rpm", source_version)


def _dpkg(root: Root) -> Iterator[tuple[str, Version, str, Version]]:
    for place in dict.fromkeys(root.place(place) for place in DPKG_PLACES):
        for data in _dpkg_files(root, place):
            for fields in dpkg_text.stanzas(data):
                try:
                    package = dpkg_text.package(fields)
                except ValueError as error:
                    log.warning("dpkg database: a package is left out: %s", error)
                    continue
                if package is not None and "config-files" not in fields.get("status", ""):
                    version = Version("dpkg", fields.get("version", ""))
                    yield package.name, version, package.source, Version("dpkg", package.version)


def _dpkg_files(root: Root, place: str) -> Iterator[bytes]:
    try:
        root.stat(f"{place}/status")
    except RootfsError:
        pass
    else:
        yield _read(root, f"{place}/status")
    try:
        names = sorted(os.listdir(f"/proc/self/fd/{root.directory(place + '/status.d')}"))
    except (RootfsError, OSError):
        return
    for name in names:
        if not name.endswith(".md5sums"):
            yield _read(root, f"{place}/status.d/{name}")


def _read(root: Root, path: str) -> bytes:
    try:
        return root.read(path, 1 << 30)
    except RootfsError as error:
        raise DatabaseError(
            f"cannot read dpkg's database {root.show(path)}", context=[error.message]
        ) from error


@contextmanager
def databases_of(image: ImageSource) -> Iterator[Root]:
    """A root filesystem that holds the package databases of an image in a layout or archive, and nothing
    else.

    Raises:
        ImageError: a layer is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="rechunk-packages-") as folder:
        store, top = Path(folder) / "files", Path(folder) / "root"
        store.mkdir()
        top.mkdir()

        def keep(layer: int, member: Member, content: Content) -> Path | None:
            if not _is_database(member.path):
                return None
            path = store / str(len(os.listdir(store)))
            with path.open("wb") as file:
                while data := content.read(1 << 20):
                    file.write(data)
            return path

        found = read_tree(image, look=keep)
        places = (*rpm_db.PLACES, *DPKG_PLACES)
        for path, entry in found.tree.items():
            if path in found.looked:
                _place(top, path).hardlink_to(found.looked[path])
            elif (
                entry.kind is Kind.SYMLINK
                and entry.target
                and any(f"{p}/".startswith(f"{path}/") for p in places)
            ):
                _place(top, path).symlink_to(entry.target)
        with Root(top) as root:
            yield root


def _is_database(path: str) -> bool:
    head, _, name = path.rpartition("/")
    if head.endswith("/status.d") and head.removesuffix("/status.d") in DPKG_PLACES:
        return not name.endswith(".md5sums")
    return name in _DATABASE_FILES and head in (*rpm_db.PLACES, *DPKG_PLACES)


def _place(top: Path, path: str) -> Path:
    """Where a path goes; its directories are made. The Tree guarantees that no symlink is among them."""
    target = top / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot unpack /{path}", context=[str(error)]) from error
    return target
