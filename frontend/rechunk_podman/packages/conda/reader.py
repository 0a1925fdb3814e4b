"""The reader of conda environments: conda-meta/NAME-VERSION-BUILD.json.

A component is a package in an environment. Source: conda's documentation, "Managing environments" and
"Package specification" (conda-meta, paths_data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import MOST_NAMES, NAME_COST, PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.conda.version import compare
from rechunk_podman.packages.digests import SHA256, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "conda"
locations = Locations(
    scattered=("**/conda-meta/*.json", "**/conda-meta/history"),
    caches=("opt/conda/pkgs/**", "opt/*/pkgs/**.conda", "opt/*/pkgs/**.tar.bz2"),
)


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the records: see Ecosystem.load()."""
    budget = Budget("of conda")
    packages: list[Package] = []
    directories = set()
    for path in records:
        directory, _, file = path.rpartition("/")
        directories.add(directory)
        if file == "history":
            continue
        budget.record()
        budget.keep(PACKAGE_COST)
        data = scattered.read(root, path, scattered.MOST_JSON, budget)
        if data is None:
            continue
        try:
            packages.append(parse(data, path, budget, files=files))
        except ValueError as error:
            budget.warn_left_out(root.show(path), error)
    return Database(packages, sorted(directories)) if directories else None


def parse(data: bytes, path: str, budget: Budget, *, files: bool = True) -> Package:
    """Return the package of a record.

    Args:
        path: of the record.

    Raises:
        ValueError: the record is broken, or lists too many files.
        DatabaseError: the budget is spent.
    """
    record = scattered.json_object(data, budget)
    package, version = scattered.plain(record.get("name")), scattered.plain(record.get("version"))
    if not package:
        raise ValueError("no name")
    prefix = path.rpartition("/")[0].rpartition("/")[0]
    source = f"{prefix}/{package}" if prefix else package
    if not files:
        return Package(package, version, source, version)
    # milliseconds
    stamp = str(record.get("timestamp", ""))
    built = int(stamp[:-3]) if stamp.isdecimal() and stamp.isascii() and 12 < len(stamp) < 16 else None
    listed = _files(record, prefix, budget)
    return Package(package, version, source, version, built=built, files=listed, info=[path])


def _files(record: Mapping[str, object], prefix: str, budget: Budget) -> Files:
    """Return the files of a package.

    Raises:
        ValueError: there are too many.
    """
    listed = record.get("files")
    paths = [path for path in listed if isinstance(path, str)] if isinstance(listed, list) else []
    if len(paths) > MOST_NAMES:
        raise ValueError(f"more than {MOST_NAMES} files")
    if not paths:
        return NO_FILES
    known = {}
    data = record.get("paths_data")
    described = data.get("paths") if isinstance(data, dict) else None
    for found in described if isinstance(described, list) else ():
        if isinstance(found, dict) and isinstance(found.get("_path"), str):
            known[found["_path"]] = found
    rows = [known.get(path, {}) for path in paths]
    # a file that holds the prefix has another content than in the archive
    digests = [row.get("sha256_in_prefix") or row.get("sha256") for row in rows]
    digests = [digest if isinstance(digest, str) and digest.isascii() else None for digest in digests]
    sizes = [-1 if "sha256_in_prefix" in row else _size(row.get("size_in_bytes")) for row in rows]
    full = [f"{prefix}/{path.lstrip('/')}".lstrip("/") for path in paths]
    # JSON may hold text that no path can
    full = [path.encode("utf-8", "replace").decode("utf-8", "surrogateescape") for path in full]
    budget.keep(texts_size(full) + NAME_COST * len(full))
    return Files(Paths(full), digests=Digests.parse(digests, SHA256), sizes=np.array(sizes, np.int64))


def _size(value: object) -> int:
    is_size = isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 19
    return int(str(value)) if is_size else -1
