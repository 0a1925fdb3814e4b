"""The reader of packages of Node.js: package.json below node_modules, and archives in yarn's cache.

A component is a package in a project: all versions of it that are nested there are one. Links, programs
(.bin) and the state of the package manager change with every update: they belong to the database. Formats:
see layout.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.node.layout import Place, own_directories, place
from rechunk_podman.packages.node.version import compare
from rechunk_podman.packages.protocol import Database, Package
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "node"
_MANIFEST = "/package.json"
_STATE = (".pnp.cjs", ".pnp.data.json", ".pnp.loader.mjs")
locations = Locations(
    scattered=(
        "**/node_modules/*/package.json",
        "**/node_modules/@*/*/package.json",
        "**/node_modules/.store/*/package/package.json",
        "**/node_modules/.bin",
        "**/.yarn/cache/*.zip",
        *(f"**/{file}" for file in _STATE),
    )
)

_MOST_MANIFEST = 1 << 20
"""Bytes of the largest package.json that is read."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the records: see Ecosystem.load()."""
    budget = Budget("of Node.js")
    packages: list[Package] = []
    directories: set[str] = set()
    bundles: set[str] = set()
    # a package before the ones that it holds
    for path in sorted(records, key=lambda path: (path.count("/"), path)):
        is_own = path.endswith(("/.bin", *_STATE))
        found = None if is_own else place(path)
        if _is_bundled(path, bundles):
            continue
        if is_own:
            directories.add(path)
        if found is None:
            continue
        budget.record()
        budget.keep(PACKAGE_COST + 3 * text_size(path))
        directories.add(own_directories(path) or path)
        packages.append(_package(root, path, found, files, bundles, budget))
    return Database(packages, sorted(directories)) if packages else None


def _is_bundled(path: str, bundles: set[str]) -> bool:
    """Return True if a path lies in a package that brought its dependencies along."""
    if not bundles:
        return False
    parts = path.split("/node_modules/")
    return any("/node_modules/".join(parts[:count]) in bundles for count in range(1, len(parts)))


def _package(root: Root, path: str, found: Place, files: bool, bundles: set[str], budget: Budget) -> Package:
    """Return a package; its version is "" if the package.json is broken. Add its directory to the bundles."""
    version = found.version
    if path.endswith(_MANIFEST):
        data = scattered.read(root, path, _MOST_MANIFEST, budget)
        if data is not None:
            try:
                manifest = scattered.json_object(data, budget)
            except ValueError as error:
                budget.warn("%s: the version of the package is unknown: %s", root.show(path), error)
                manifest = {}
            version = scattered.plain(manifest.get("version")) or version
            if manifest.get("bundleDependencies") or manifest.get("bundledDependencies"):
                bundles.add(found.directory)
    source = f"{found.project}/{found.name}" if found.project else found.name
    if not files:
        return Package(found.name, version, source, version)
    return Package(found.name, version, source, version, trees=[found.directory], record=path)
