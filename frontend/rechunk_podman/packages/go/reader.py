"""The reader of programs that Go made and that belong to no other package.

A component is the main module of programs, wherever they lie. Formats: see buildinfo.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rechunk_podman.errors import RootfsError
from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.go import buildinfo
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.node.version import compare
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "go"
locations = Locations(embedded=("**",), is_program=True)


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the modules of the programs: see Ecosystem.load()."""
    budget = Budget("of Go")
    packages: list[Package] = []
    for path in records:
        budget.read(scattered.RECORD_COST)
        try:
            found = _module(root, path, budget)
        except RootfsError as error:
            budget.warn_left_out(root.show(path), error.message)
            continue
        if found is not None:
            budget.record()
            budget.keep(PACKAGE_COST + text_size(path))
            files_of = Files(Paths([path]))
            packages.append(Package(found.path, found.version, found.path, found.version, files=files_of))
    return Database(packages) if packages else None


def _module(root: Root, path: str, budget: Budget) -> buildinfo.Module | None:
    """Return the main module of a program; None if Go did not make it.

    Raises:
        RootfsError: the file cannot be read.
        DatabaseError: the budget is spent.
    """
    descriptor = root.open(path)

    def read_at(length: int, offset: int) -> bytes:
        budget.read(length)
        return os.pread(descriptor, length, offset)

    try:
        header = os.pread(descriptor, buildinfo.HEADER_SIZE, 0)
        return buildinfo.module(header, read_at)
    except OSError as error:
        raise root.error(path, error) from error
    finally:
        os.close(descriptor)
