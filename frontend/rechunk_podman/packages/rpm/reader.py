"""The reader of rpm's databases."""

from __future__ import annotations

import stat
from collections.abc import Sequence

import numpy as np

from rechunk_podman.packages.budget import NAME_COST, PACKAGE_COST, Budget, text_size, texts_size
from rechunk_podman.packages.digests import MD5, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.packages.rpm import database, header
from rechunk_podman.packages.rpm.header import Header, HeaderError
from rechunk_podman.packages.versions import compare_rpm
from rechunk_podman.rootfs.root import Root

name = "rpm"
locations = Locations(
    directories=database.DIRECTORIES,
    databases=tuple(database.FORMATS),
    records=("rpmdb.sqlite-wal", "rpmdb.sqlite-journal"),
    copies=("usr/lib/sysimage/rpm-ostree-base-db",),
    state=("usr/lib/sysimage/libdnf5", "var/lib/dnf", "var/lib/yum"),
    journals=(
        *(
            f"{directory}/{file}"
            for directory in database.DIRECTORIES
            for file in ("__db.*", ".rpm.lock", ".dbenv.lock")
        ),
        "var/lib/dnf/history.sqlite*",
        "usr/lib/sysimage/libdnf5/transaction_history.sqlite*",
        "usr/lib/sysimage/libdnf5/*.toml",
        "var/lib/yum/history/**",
        "var/lib/zypp/AutoInstalled",
    ),
    caches=(
        *(f"var/cache/{tool}/**" for tool in ("dnf", "libdnf5", "yum", "zypp", "rpm-ostree")),
        "var/lib/dnf/repos/**",
        "var/lib/dnf/sync/**",
    ),
    # rpm's packages list its databases as ghosts
    is_exclusive=True,
)
compare = compare_rpm

_KEY = "gpg-pubkey"
"""The name of the packages as which rpm records trusted keys."""

_DAY = 86400
_NUMBER_COST = 40
"""Bytes of memory of a number in a list."""

_TYPE, _PERMISSIONS = 0o170000, 0o7777
"""The parts of a mode."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the database: see Ecosystem.load()."""
    paths = database.databases(root)
    if not paths:
        return None
    packages: list[Package] = []
    budget = Budget(root.show(next(iter(paths))))
    for number, (path, record) in enumerate(database.records(root, paths), 1):
        budget.database = root.show(path)
        budget.record()
        label = f"package {number}"
        try:
            if isinstance(record, HeaderError):
                raise record
            budget.keep(PACKAGE_COST, 3 * len(record))
            parsed = Header(record)
            label = parsed.string(header.NAME) or label
            if label != _KEY:
                packages.append(_package(parsed, budget, files))
        except HeaderError as error:
            budget.warn_left_out(label, error)
    budget.require_a_record(packages)
    return Database(packages, [path.rpartition("/")[0] for path in paths])


def _package(parsed: Header, budget: Budget, files: bool) -> Package:
    """Return the package of a header.

    Raises:
        HeaderError: the record is broken.
        DatabaseError: the budget is spent.
    """
    source, source_version = parsed.source()
    version = f"{parsed.string(header.VERSION)}-{parsed.string(header.RELEASE)}"
    if epoch := parsed.number(header.EPOCH):
        version = f"{epoch}:{version}"
    built = parsed.number(header.BUILDTIME) or None
    changes = parsed.numbers(header.CHANGELOGTIME) if files else []
    budget.keep(_NUMBER_COST * len(changes))
    return Package(
        parsed.string(header.NAME) or source,
        version,
        source,
        source_version,
        parsed.string(header.ARCH),
        built=built,
        # entries dated long after the build are mistakes
        changes=[time for time in changes if time > 0 and (built is None or time <= built + _DAY)],
        files=_files(parsed, budget) if files else NO_FILES,
    )


def _files(parsed: Header, budget: Budget) -> Files:
    """Return a package's files.

    Raises:
        HeaderError: the record is broken.
        DatabaseError: the budget is spent.
    """
    columns = parsed.columns()
    directories = [directory.lstrip("/") for directory in columns.directories]
    # many files may share a long directory
    sizes = np.array([text_size(directory) for directory in directories], np.int64)
    size = int(sizes[columns.indexes].sum()) + texts_size(columns.names)
    budget.keep(size + NAME_COST * len(columns.names), size)
    heads = map(directories.__getitem__, columns.indexes.tolist())
    installed = columns.states == header.STATE_NORMAL
    return Files(
        Paths([head + file for head, file in zip(heads, columns.names, strict=True)]),
        installed,
        installed & (columns.modes & _TYPE == stat.S_IFREG) & (columns.flags & header.FLAG_GHOST == 0),
        Digests.parse(columns.digests, parsed.number(header.FILEDIGESTALGO) or MD5),
        columns.sizes,
        (columns.modes & _PERMISSIONS).astype(np.uint16),
        columns.mtimes,
    )
