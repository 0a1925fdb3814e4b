"""The reader of xbps's database: var/db/xbps/pkgdb-0.38.plist, and .PACKAGE-files.plist beside it.

Format: xbps's lib/pkgdb.c and bin/xbps-create/main.c; property lists in XML, as proplib(3) writes them. A
package has `pkgver` (NAME-VERSION_REVISION), `architecture`, `sourcepkg` (a name, as xbps-src writes it, or a
pkgver, as xbps-create(1) says) or `source-revisions` (SOURCE:COMMIT), and `build-date` (YYYY-MM-DD HH:MM
UTC). Its files are in the arrays `files` and `conf_files` (`file`, `sha256`, `size`), `links` and `dirs`
(`file`).
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.budget import MOST_NAMES, NAME_COST, PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.digests import SHA256, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.packages.reading import exists, read_database, read_record
from rechunk_podman.packages.xbps.version import compare_xbps
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

name = "xbps"
_DATABASE = "pkgdb-0.38.plist"
locations = Locations(
    directories=("var/db/xbps",),
    databases=(_DATABASE,),
    journals=("var/db/xbps/.pkgdb*.lock", "var/lib/xbps/**.lock"),
    caches=("var/cache/xbps/**", "var/db/xbps/http*/**"),
)
compare = compare_xbps

_HINT = "repair it with `xbps-pkgdb -a`"
_MOST_DATABASE = 16 << 20
_MOST_FILES = 12 << 20
"""Bytes of a property list."""
_WORK = 12
"""A byte of a property list costs as much work as this many bytes of text."""
_MEMORY = 24
"""Bytes of memory of a parsed property list, for each of its bytes."""
_MOST_ELEMENTS = 500_000
_MOST_LETTERS = 1024
_VERSION = compile_later(r"-\d[^-]*_\d+\Z", re.ASCII)
_DATE = compile_later(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d) UTC\Z", re.ASCII)


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the database: see Ecosystem.load()."""
    directory = root.resolve_or_keep(locations.directories[0])
    path = f"{directory}/{_DATABASE}"
    if not exists(root, path):
        return None
    budget = Budget(root.show(path))
    data = read_database(root, path, _MOST_DATABASE, budget, _HINT)
    try:
        listed = plist(data, budget)
    except ValueError as error:
        raise DatabaseError(
            f"cannot read the package database {root.show(path)}", context=[str(error)], hint=_HINT
        ) from error
    packages: list[Package] = []
    for label, record in listed.items():
        budget.record()
        budget.keep(PACKAGE_COST)
        if not isinstance(record, dict) or label.startswith("_XBPS_"):
            continue
        try:
            package = parse(label, record)
            file = f"{directory}/.{package.name}-files.plist"
            if files and "/" not in package.name:
                content = _files(read_record(root, file, _MOST_FILES, budget), budget)
                package = parse(label, record, content, [file])
            packages.append(package)
        except ValueError as error:
            budget.warn_left_out(label, error)
    budget.require_a_record(packages)
    return Database(packages, [directory])


def plist(data: bytes, budget: Budget) -> Mapping[str, object]:
    """Return the dictionary that a property list holds.

    Raises:
        ValueError: it is malformed, has an absurd number of elements, or holds no dictionary.
        DatabaseError: the budget is spent.
    """
    budget.read(_WORK * len(data))
    budget.keep(0, _MEMORY * len(data))
    if data.count(b"<") > 2 * _MOST_ELEMENTS:
        raise ValueError(f"a property list of more than {_MOST_ELEMENTS} elements")
    import plistlib  # only systems of xbps need it
    from xml.parsers.expat import ExpatError

    try:
        found = plistlib.loads(data, fmt=plistlib.FMT_XML)
    # plistlib raises whatever its conversions and its stack of open elements raise
    except (ExpatError, plistlib.InvalidFileException, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a property list: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("a property list without a dictionary")
    return {key: value for key, value in found.items() if isinstance(key, str)}


def parse(
    label: str, record: Mapping[str, object], files: Files = NO_FILES, info: Sequence[str] = ()
) -> Package:
    """Return a package of the database.

    Args:
        label: the name under which the database has it.

    Raises:
        ValueError: it has no version, or an absurdly long text.
    """
    fields = {key: value for key, value in record.items() if isinstance(value, str)}
    package, dash, version = fields.get("pkgver", "").rpartition("-")
    source = fields.get("sourcepkg") or fields.get("source-revisions", "").partition(":")[0] or package
    source = _VERSION.sub("", source) or package
    architecture = fields.get("architecture", "")
    longest = max(map(len, (package, version, source, architecture)))
    if not (dash and package and version) or longest > _MOST_LETTERS:
        raise ValueError(f"the version {fields.get('pkgver', '')[:80]!r}")
    if package != label:
        raise ValueError(f"its name is {package[:80]!r}")
    return Package(
        name=package,
        version=version,
        source=source,
        source_version=version,
        architecture=architecture,
        built=_time(fields.get("build-date", "")) if info else None,
        files=files,
        info=info,
    )


def _time(text: str) -> int | None:
    found = _DATE.match(text)
    if found is None:
        return None
    year, month, day, hour, minute = map(int, found.groups())
    try:
        return timegm((year, month, day, hour, minute, 0)) or None
    except ValueError:
        return None


def _files(data: bytes, budget: Budget) -> Files:
    """Return the files of a property list.

    Raises:
        ValueError: it is malformed, or lists more than MOST_NAMES.
        DatabaseError: the budget is spent.
    """
    found = list(_entries(plist(data, budget)))
    if len(found) > MOST_NAMES:
        raise ValueError(f"{len(found)} files")
    paths = [path.strip("/") for path, *_ in found]
    budget.keep(texts_size(paths) + NAME_COST * len(paths))
    sizes = np.array([size for _, _, _, size in found], np.uint64)
    return Files(
        Paths(paths),
        packaged=np.array([is_file for _, is_file, _, _ in found], np.bool_),
        digests=Digests.parse([digest for _, _, digest, _ in found], SHA256),
        # older files of this kind hold no sizes
        sizes=sizes if sizes.any() else None,
    )


def _entries(listed: Mapping[str, object]) -> Iterator[tuple[str, bool, str, int]]:
    """Yield (path, True for a file, SHA-256, size in bytes)."""
    for key in ("files", "conf_files", "links", "dirs"):
        entries = listed.get(key, ())
        for entry in entries if isinstance(entries, list) else ():
            path = entry.get("file") if isinstance(entry, dict) else None
            if isinstance(path, str):
                digest, size = entry.get("sha256"), entry.get("size", 0)
                yield (
                    path,
                    key in ("files", "conf_files"),
                    digest if isinstance(digest, str) else "",
                    size if isinstance(size, int) and 0 <= size < 1 << 63 else 0,
                )
