"""Where npm, pnpm and yarn put packages: names and projects from paths alone. Pure.

Sources: npm's documentation, "folders" and "package.json" (bundleDependencies); pnpm's, "Symlinked
node_modules structure" (node_modules/.pnpm); yarn's, "Plug'n'Play", "settings" (nodeLinker) and "Offline
cache" (.yarn/cache, .yarn/unplugged).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rechunk_podman.patterns import compile_later

_SLUG = compile_later(
    r"(?P<name>.+?)-(?:npm-(?P<version>.+)-[0-9a-f]{10}|(?:virtual|patch|file|https?|git)-.+)\Z"
)
_STORED = compile_later(r"(?:.*/)?node_modules/\.store/(?P<slug>[^/]+)/package\Z", re.DOTALL)


class Place(NamedTuple):
    """A package as its path tells it.

    project: directory of the application; "" for the root directory.
    directory: of the package, or the path of its archive.
    version: "" if the path does not tell it.
    """

    project: str
    name: str
    directory: str
    version: str = ""


def place(record: str) -> Place | None:
    """Return the package that a package.json or an archive in yarn's cache belongs to; None if to none."""
    if record.endswith(".zip"):
        return _slug(record, record.rpartition("/")[2].removesuffix(".zip"))
    directory = record.rpartition("/")[0]
    stored = _STORED.match(directory)
    if stored is not None:
        return _slug(directory, stored["slug"])
    name = f"/{directory}".rpartition("/node_modules/")[2]
    depth = name.count("/")
    if name.startswith(".") or depth > 1 or (depth == 1) != name.startswith("@"):
        return None
    return Place(project_of(directory), name, directory)


def _slug(directory: str, slug: str) -> Place:
    """Return a package by yarn's name for it: NAME-npm-VERSION-HASH, and -KEY for an archive."""
    stem = re.sub(r"(?<=-[0-9a-f]{10})-[0-9a-z]{1,12}\Z", "", slug)
    match = _SLUG.match(stem)
    name, version = (match["name"], match["version"] or "") if match else (stem, "")
    return Place(project_of(directory), name, directory, version)


def project_of(path: str) -> str:
    """Return the directory that holds the outermost node_modules or .yarn."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if part in ("node_modules", ".yarn"):
            return "/".join(parts[:index])
    return path.rpartition("/")[0]


def own_directories(path: str) -> str | None:
    """Return the outermost node_modules or .yarn of a path, which package managers own; None without one."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if part in ("node_modules", ".yarn"):
            return "/".join(parts[: index + 1])
    return None
