"""The reader of the store of Nix: /nix/store/HASH-NAME.

Format: the Nix manual, "Store Path" and "Files and Processes"; no file is read, for the names say all. The
component is the name without hash and version, so that an update keeps it. A derivation (.drv) belongs to
its name, too. Nix sets all times to 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rechunk_podman.packages.budget import PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.nix.version import compare_nix, split_name
from rechunk_podman.packages.protocol import Database, Package
from rechunk_podman.packages.reading import exists
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

name = "nix"
_STORE = "nix/store"
locations = Locations(
    directories=("nix/var/nix",),
    databases=("db/db.sqlite",),
    named=(f"{_STORE}/*",),
    state=("nix/var/log",),
    journals=("nix/var/nix/db/*.lock", "nix/var/nix/gc.lock", "nix/var/nix/db/big-lock"),
    caches=("nix/var/log/nix/**",),
)
compare = compare_nix

_MTIME = 1
_PATH = compile_later(r"[0-9abcdfghijklmnpqrsvwxyz]{32}-(?P<name>.+)\Z", re.DOTALL)


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the store: see Ecosystem.load()."""
    store = root.resolve_or_keep(_STORE)
    found = root.names(store)
    if not found:
        return None
    budget = Budget(root.show(store))
    packages: list[Package] = []
    for entry in found:
        package = parse(entry, f"{store}/{entry}" if files else "")
        if package is not None:
            budget.record()
            budget.keep(PACKAGE_COST + text_size(entry))
            packages.append(package)
    directory = root.resolve_or_keep(locations.directories[0])
    if files and exists(root, reserve := f"{directory}/db/reserved"):
        # 8 MB of blanks, which are deleted when the disk is full; unlike the database they never change
        packages.append(Package("reserved", "", "reserved", "", built=_MTIME, trees=[reserve]))
    return Database(packages, [directory])


def parse(entry: str, path: str = "") -> Package | None:
    """Return the package of a name in the store; None if it is not one of a store path.

    Args:
        path: canonical path of its directory or file; "" leaves out what concerns files.
    """
    found = _PATH.match(entry)
    if found is None or entry.endswith((".lock", ".chroot")):
        return None
    # a derivation describes how its outputs are built
    package, version = split_name(found["name"].removesuffix(".drv"))
    package = package or found["name"]
    return Package(
        package,
        version,
        package,
        version,
        built=_MTIME if path else None,
        trees=[path] if path else [],
    )
