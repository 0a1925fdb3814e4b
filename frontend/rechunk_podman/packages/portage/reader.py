"""The reader of portage's database: var/db/pkg/CATEGORY/NAME-VERSION/{CONTENTS,BUILD_TIME,…}.

Format: portage(5), "/var/db/pkg", and portage's lib/portage/dbapi/vartree.py. Lines of CONTENTS are
`dir PATH`, `obj PATH MD5 MTIME`, `sym PATH -> TARGET MTIME`, `fif PATH` and `dev PATH`. The component is
CATEGORY/NAME: the versions of several slots are one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rechunk_podman.packages.budget import MOST_NAMES, NAME_COST, PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.digests import MD5, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.portage.version import compare_portage, split_name
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.packages.reading import exists, read_record
from rechunk_podman.rootfs.root import Root

name = "portage"
locations = Locations(
    directories=("var/db/pkg",),
    databases=(),
    records=("*/*/CONTENTS",),
    state=("var/lib/portage", "var/cache/edb"),
    journals=("var/db/pkg/**.portage_lockfile", "var/db/pkg/.*.portage_lockfile"),
    caches=("var/cache/distfiles/**", "var/cache/binpkgs/**", "var/tmp/portage/**"),
)
compare = compare_portage

_MOST_CONTENTS = 32 << 20
"""Bytes."""
_MOST_NUMBER = 32
_MOST_DIGITS = 18
_MERGING = "-MERGING-"
"""The prefix of a record that is being written."""
_LISTED_COST = 64
"""Bytes that are counted as read for a name in a directory."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the database: see Ecosystem.load()."""
    directory = root.resolve_or_keep(locations.directories[0])
    categories = [name for name in root.names(directory) if not name.startswith((".", "-"))]
    if not categories:
        return None
    budget = Budget(root.show(directory))
    packages: list[Package] = []
    for category in categories:
        for record in _names(root, f"{directory}/{category}", budget):
            path = f"{directory}/{category}/{record}"
            if record.startswith(_MERGING) or not exists(root, f"{path}/CONTENTS"):
                continue
            budget.record()
            try:
                packages.append(_package(root, category, record, path, budget, files))
            except ValueError as error:
                budget.warn_left_out(f"{category}/{record}", error)
    budget.require_a_record(packages)
    return Database(packages, [directory])


def _names(root: Root, path: str, budget: Budget) -> list[str]:
    found = root.names(path)
    budget.read(_LISTED_COST * len(found))
    return found


def _package(root: Root, category: str, record: str, path: str, budget: Budget, files: bool) -> Package:
    """Return the package of a directory of the database.

    Raises:
        ValueError: the record is broken.
        DatabaseError: the budget is spent.
    """
    package, version = split_name(record)
    source = f"{category}/{package}"
    budget.keep(PACKAGE_COST)
    if not files:
        return Package(source, version, source, version)
    built = None
    if exists(root, f"{path}/BUILD_TIME"):
        text = read_record(root, f"{path}/BUILD_TIME", _MOST_NUMBER, budget).strip()
        built = int(text) if text.isdigit() and len(text) < 12 else None
    contents = read_record(root, f"{path}/CONTENTS", _MOST_CONTENTS, budget)
    budget.keep(0, 8 * len(contents))
    return Package(
        name=source,
        version=version,
        source=source,
        source_version=version,
        built=built,
        files=parse(contents, budget),
        info=[f"{path}/{file}" for file in _names(root, path, budget)],
    )


def parse(data: bytes, budget: Budget) -> Files:
    """Return the files of a CONTENTS file. Lines of another form are skipped.

    Raises:
        ValueError: there are more than MOST_NAMES lines.
        DatabaseError: the budget is spent.
    """
    if (lines := data.count(b"\n")) > MOST_NAMES:
        raise ValueError(f"{lines} lines")
    paths: list[str] = []
    digests: list[str] = []
    mtimes: list[int] = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        kind, _, rest = line.partition(" ")
        digest, mtime = "", 0
        if kind == "obj":
            words = rest.rsplit(" ", 2)
            number = words[-1].removeprefix("-")
            if len(words) < 3 or not number.isdecimal() or not number.isascii() or len(number) > _MOST_DIGITS:
                continue
            rest, digest, mtime = words[0], words[1], int(words[2])
        elif kind == "sym":
            rest = rest.partition(" -> ")[0]
        elif kind not in ("dir", "fif", "dev"):
            continue
        if path := rest.strip("/"):
            paths.append(path)
            digests.append(digest)
            mtimes.append(mtime)
    size = texts_size(paths)
    budget.keep(size + NAME_COST * len(paths), size)
    return Files(
        Paths(paths),
        packaged=np.array(list(map(bool, digests)), np.bool_),
        digests=Digests.parse(digests, MD5),
        mtimes=np.array(mtimes, np.int64),
    )
