"""The reader of pacman's local database: local/PACKAGE-VERSION/{desc,files,mtree} below DBPath.

Formats: see text.py. The component is %BASE%, the name of the PKGBUILD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rechunk_podman.errors import RootfsError
from rechunk_podman.packages.alpm import text as alpm_text
from rechunk_podman.packages.alpm.version import compare_alpm
from rechunk_podman.packages.budget import MOST_NAMES, NAME_COST, PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.digests import SHA256, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.packages.reading import exists, read_record
from rechunk_podman.rootfs.root import Root

name = "alpm"
_DIRECTORIES = ("var/lib/pacman", "usr/lib/sysimage/lib/pacman", "usr/lib/pacman")
locations = Locations(
    directories=_DIRECTORIES,
    databases=("local/ALPM_DB_VERSION",),
    records=("local/*/desc",),
    details=("etc/pacman.conf",),
    journals=tuple(f"{directory}/db.lck" for directory in _DIRECTORIES),
    caches=("var/cache/pacman/**", *(f"{directory}/sync/**" for directory in _DIRECTORIES)),
)
compare = compare_alpm

_CONFIG = "etc/pacman.conf"
_MOST_CONFIG = 1 << 20
_MOST_DESC = 1 << 20
_MOST_FILES = 24 << 20
_MOST_MTREE = 48 << 20
"""Bytes of the files of one package; of an mtree, unpacked."""
_MOST_LETTERS = 1024
"""The longest name, version or architecture, in characters."""
_LINE_COST = 400
"""Bytes that are counted as read for a line of an mtree, which takes more work than other bytes."""
_LISTED_COST = 64
"""Bytes that are counted as read for a name in a directory."""
_NUMBERS_COST = 400
"""Bytes of memory of what an mtree records of a path, while it is parsed."""
_INFO = ("desc", "files", "mtree", "install", "changelog")


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the databases: see Ecosystem.load()."""
    directories = [directory for directory in _directories(root) if root.names(f"{directory}/local")]
    if not directories:
        return None
    budget = Budget(root.show(f"{directories[0]}/local"))
    packages: list[Package] = []
    for directory in directories:
        budget.database = root.show(f"{directory}/local")
        for record in root.names(f"{directory}/local"):
            path = f"{directory}/local/{record}"
            budget.read(_LISTED_COST)
            if not exists(root, f"{path}/desc") and not root.names(path):
                continue  # ALPM_DB_VERSION
            budget.record()
            try:
                packages.append(_package(root, path, budget, files))
            except ValueError as error:
                budget.warn_left_out(record, error)
    budget.require_a_record(packages)
    return Database(packages, directories)


def _directories(root: Root) -> list[str]:
    """Return the canonical paths of the directories that may hold a database, the configured one first."""
    found = list(locations.directories)
    try:
        configured = alpm_text.database_path(root.read(root.resolve_or_keep(_CONFIG), _MOST_CONFIG))
    except RootfsError:
        configured = None
    return list(dict.fromkeys(map(root.resolve_or_keep, [configured, *found] if configured else found)))


def _package(root: Root, path: str, budget: Budget, files: bool) -> Package:
    """Return the package of a directory of the database.

    Raises:
        ValueError: the record is broken.
        DatabaseError: the budget is spent.
    """
    described = read_record(root, f"{path}/desc", _MOST_DESC, budget)
    budget.keep(PACKAGE_COST)
    package = parse(described)
    if not files:
        return package
    listed = read_record(root, f"{path}/files", _MOST_FILES, budget)
    recorded: dict[str, alpm_text.Listed] = {}
    if exists(root, f"{path}/mtree"):
        packed = read_record(root, f"{path}/mtree", _MOST_FILES, budget)
        budget.keep(0, _MOST_MTREE)
        data = alpm_text.unpack(packed, _MOST_MTREE)
        lines = data.count(b"\n")
        budget.read(len(data) // 8 + _LINE_COST * lines)
        budget.keep(0, 2 * len(data) + _NUMBERS_COST * lines)
        recorded = alpm_text.mtree(data)
    info = [f"{path}/{file}" for file in _INFO if exists(root, f"{path}/{file}")]
    return parse(described, _files(listed, recorded, budget), info)


def parse(data: bytes, files: Files = NO_FILES, info: Sequence[str] = ()) -> Package:
    """Return the package of a `desc` file.

    Raises:
        ValueError: it has no name or no version, or an absurdly long one.
    """
    sections = alpm_text.sections(data)
    fields = {key: (lines or [""])[0] for key, lines in sections.items()}
    package, version = fields.get("NAME", ""), fields.get("VERSION", "")
    used = [fields.get(key, "") for key in ("NAME", "VERSION", "BASE", "ARCH")]
    if not (package and version) or any(len(value) > _MOST_LETTERS for value in used):
        raise ValueError("no name or no version, or an absurdly long one")
    built = fields.get("BUILDDATE", "")
    return Package(
        name=package,
        version=version,
        source=fields.get("BASE") or package,
        source_version=version,
        architecture=fields.get("ARCH", ""),
        built=int(built) if built.isdecimal() and len(built) < 12 else None,
        files=files,
        info=info,
    )


def _files(data: bytes, recorded: dict[str, alpm_text.Listed], budget: Budget) -> Files:
    """Return the files of a `files` file, with what the mtree records of them.

    Raises:
        ValueError: there are more than MOST_NAMES.
        DatabaseError: the budget is spent.
    """
    if (lines := data.count(b"\n")) > MOST_NAMES:
        raise ValueError(f"{lines} lines")
    paths = [path.strip("/") for path in alpm_text.sections(data).get("FILES", ()) if path.strip("/")]
    budget.keep(texts_size(paths) + NAME_COST * len(paths))
    if not recorded:
        return Files(Paths(paths))
    found = list(_recorded(paths, recorded))
    return Files(
        Paths(paths),
        packaged=np.array([listed.is_file for listed in found], np.bool_),
        digests=Digests.parse([listed.digest for listed in found], SHA256),
        sizes=np.array([listed.size or 0 for listed in found], np.uint64),
        modes=np.array([listed.mode or 0 for listed in found], np.uint16),
        mtimes=np.array([listed.mtime or 0 for listed in found], np.int64),
    )


_UNKNOWN = alpm_text.Listed(True, None, None, None, "")


def _recorded(paths: Sequence[str], recorded: dict[str, alpm_text.Listed]) -> Iterator[alpm_text.Listed]:
    for path in paths:
        yield recorded.get(path, _UNKNOWN)
