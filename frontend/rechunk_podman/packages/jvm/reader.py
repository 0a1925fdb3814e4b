"""The reader of Java archives that belong to no other package.

A component is an artifact, wherever its jar lies. Formats: see archive.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rechunk_podman.errors import RootfsError
from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.jvm import archive
from rechunk_podman.packages.jvm.version import compare
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "jvm"
locations = Locations(embedded=("**/*.jar", "**/*.war", "**/*.ear"))

_FIRST = 4096
"""Bytes that are read from the end of an archive; more only if they do not hold the end of the directory."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the packages of the archives: see Ecosystem.load()."""
    budget = Budget("of Java")
    packages: list[Package] = []
    for path in records:
        budget.record()
        budget.keep(PACKAGE_COST + text_size(path))
        try:
            found = _artifact(root, path, budget)
        except RootfsError as error:
            budget.warn_left_out(root.show(path), error.message)
            continue
        files_of = Files(Paths([path]))
        packages.append(Package(found.name, found.version, found.name, found.version, files=files_of))
    return Database(packages) if packages else None


def _artifact(root: Root, path: str, budget: Budget) -> archive.Artifact:
    """Return what a jar holds. If it is broken, its name tells it.

    Raises:
        RootfsError: the file cannot be read.
        DatabaseError: the budget is spent.
    """
    file = path.rpartition("/")[2]
    contents: dict[str, bytes] = {}
    descriptor = root.open(path)
    try:
        size = os.fstat(descriptor).st_size
        budget.read(scattered.RECORD_COST + _FIRST)
        tail = os.pread(descriptor, _FIRST, max(0, size - _FIRST))
        if b"PK\5\6" not in tail:
            most = archive.END_SIZE + archive.MOST_COMMENT
            budget.read(most)
            tail = os.pread(descriptor, most, max(0, size - most))
        offset, length = archive.directory(tail, size)
        budget.read(length)
        for entry in archive.described(os.pread(descriptor, length, offset)):
            budget.read(archive.LOCAL_SIZE + entry.packed + entry.size)
            local = os.pread(descriptor, archive.LOCAL_SIZE, entry.offset)
            data = os.pread(descriptor, entry.packed, archive.data_offset(local, entry.offset))
            contents[entry.name] = archive.unpacked(entry, data)
    except ValueError:
        # some of what is named .jar is none
        pass
    except OSError as error:
        raise root.error(path, error) from error
    finally:
        os.close(descriptor)
    return archive.artifact(file, contents)
