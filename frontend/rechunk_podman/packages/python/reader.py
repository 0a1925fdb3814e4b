"""The reader of installed Python distributions: dist-info and egg-info directories, virtual environments.

A component is a distribution in a prefix: the same distribution in two virtual environments is two
components, and a new version of Python (another directory below the prefix) makes no new ones. Formats: see
text.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import NAME_COST, PACKAGE_COST, Budget, text_size, texts_size
from rechunk_podman.packages.digests import SHA256, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.packages.python import text
from rechunk_podman.packages.python.version import compare
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "python"
locations = Locations(
    scattered=(
        "**/*.dist-info/METADATA",
        "**/*.dist-info/RECORD",
        "**/*.dist-info/INSTALLER",
        "**/*.egg-info/PKG-INFO",
        "**/*.egg-info/installed-files.txt",
        "**/*.egg-info/top_level.txt",
        "**/*.egg/EGG-INFO/PKG-INFO",
        "**/pyvenv.cfg",
        # of an interpreter that no package manager installed
        "**/lib/python3.*/os.py",
    )
)

_METADATA = frozenset({"METADATA", "PKG-INFO"})
_SYSTEM = frozenset({b"rpm", b"debian", b"conda"})
"""Installers (INSTALLER) whose packages have databases of their own."""
_OF_DEBIAN = "usr/lib/python3/dist-packages"
"""The directory of dpkg's packages alone (Debian Python Policy, 3.1)."""
_OF_ENVIRONMENT = ("pyvenv.cfg", ".gitignore", ".lock", "CACHEDIR.TAG", "lib64")
"""Files that venv, virtualenv and uv write into a new environment."""
_MOST_SMALL = 1 << 20
"""Bytes of the largest file that is read but for RECORD."""
_MOST_RECORD = 8 << 20
"""Bytes of the largest RECORD that is read: some 60,000 files."""
_COPIES = 12
"""Copies of the content of a RECORD in memory while it is parsed."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the records: see Ecosystem.load()."""
    by_directory: dict[str, set[str]] = {}
    for path in records:
        directory, _, file = path.rpartition("/")
        by_directory.setdefault(directory, set()).add(file)
    budget = Budget("of Python")
    packages: list[Package] = []
    for directory, found in sorted(by_directory.items()):
        budget.record()
        budget.keep(PACKAGE_COST + text_size(directory))
        try:
            package = _package(root, directory, found, files, budget)
        except ValueError as error:
            budget.warn_left_out(root.show(directory), error)
            continue
        if package is not None:
            packages.append(package)
    return Database(packages) if packages else None


def _package(root: Root, directory: str, found: set[str], files: bool, budget: Budget) -> Package | None:
    """Return the package whose records are the files `found` in a directory.

    Returns:
        None if another package holds it, or there is no package.

    Raises:
        ValueError: the package has no name.
        DatabaseError: the budget is spent.
    """
    if "pyvenv.cfg" in found:
        return _environment(root, directory, files, budget)
    if "os.py" in found:
        # the one in /usr is a package's
        return _interpreter(directory) if files or not directory.startswith("usr/lib/") else None
    own = directory.removesuffix("/EGG-INFO")
    site, _, file = own.rpartition("/")
    if text.is_vendored(site) or (site == _OF_DEBIAN and not files):
        return None
    name, version = text.name_and_version(file)
    if not name:
        raise ValueError("a distribution without a name")
    if "INSTALLER" in found:
        installer = scattered.read(root, f"{directory}/INSTALLER", _MOST_SMALL, budget) or b""
        if installer.strip() in _SYSTEM:
            return None
    if not version and "PKG-INFO" in found:
        data = scattered.read(root, f"{directory}/PKG-INFO", _MOST_SMALL, budget) or b""
        version = scattered.plain(text.field(data, "Version"))
    prefix = text.prefix_of(site)
    source = f"{prefix}/{name}" if prefix else name
    if not files:
        return Package(name, version, source, version)
    paths, trees = NO_FILES, [own]
    if "RECORD" in found:
        paths = _recorded(root, directory, site, budget)
    elif "installed-files.txt" in found:
        listed = _lines(root, f"{directory}/installed-files.txt", budget)
        paths = _plain([text.join(directory, path) for path in listed], budget)
    elif own == directory and "top_level.txt" in found:
        modules, directories = text.modules(_lines(root, f"{directory}/top_level.txt", budget), site)
        paths, trees = _plain(modules, budget), [own, *directories]
    record = f"{directory}/{min(found & _METADATA or found)}"
    return Package(name, version, source, version, files=paths, trees=trees, record=record)


def _environment(root: Root, prefix: str, files: bool, budget: Budget) -> Package:
    """Return the package of a virtual environment itself: the interpreter and the scripts to activate it."""
    data = scattered.read(root, f"{prefix}/pyvenv.cfg", _MOST_SMALL, budget) or b""
    version = scattered.plain(text.field(data, "version") or text.field(data, "version_info"))
    if not files:
        return Package("venv", version, prefix or "venv", version)
    site = f"lib/python{'.'.join(version.split('.')[:2])}/site-packages"
    own = (*_OF_ENVIRONMENT, f"{site}/_virtualenv.py", f"{site}/_virtualenv.pth")
    paths = _plain([text.join(prefix, path) for path in own], budget)
    trees = [text.join(prefix, "bin"), text.join(prefix, "include")]
    return Package("venv", version, prefix or "venv", version, files=paths, trees=trees)


def _interpreter(library: str) -> Package:
    """Return the package of an interpreter with its library.

    Args:
        library: the directory PREFIX/lib/python3.N.
    """
    version = library.rpartition("/python")[2]
    prefix = library.rpartition("/")[0].rpartition("lib")[0].rstrip("/")
    source = f"{prefix}/cpython" if prefix else "cpython"
    names = ("bin/{}", "bin/{}-config", "lib/lib{}.so", "lib/lib{}.so.1.0", "lib/pkgconfig/{}.pc")
    versions = (
        f"python{version}",
        "python3",
        "python",
        f"pydoc{version}",
        "pydoc3",
        f"idle{version}",
        "idle3",
    )
    paths = [text.join(prefix, name.format(program)) for name in names for program in versions]
    trees = [library, text.join(prefix, f"include/python{version}")]
    return Package(
        "cpython",
        version,
        source,
        version,
        files=Files(Paths(paths)),
        trees=trees,
        record=f"{library}/os.py",
    )


def _recorded(root: Root, directory: str, site: str, budget: Budget) -> Files:
    """Return the files of a RECORD; none, with a warning, if it is broken."""
    data = scattered.read(root, f"{directory}/RECORD", _MOST_RECORD, budget) or b""
    budget.keep(0, _COPIES * len(data))
    try:
        found = text.record(data, site)
    except ValueError as error:
        budget.warn("%s: %s", root.show(f"{directory}/RECORD"), error)
        return NO_FILES
    paths = [file.path for file in found]
    budget.keep(texts_size(paths) + NAME_COST * len(paths))
    return Files(
        Paths(paths),
        digests=Digests.parse([file.digest for file in found], SHA256),
        sizes=np.array([file.size for file in found], np.int64),
    )


def _lines(root: Root, path: str, budget: Budget) -> list[str]:
    """Return the lines of a small record.

    Raises:
        ValueError: there are too many.
    """
    return text.lines(scattered.read(root, path, _MOST_SMALL, budget) or b"")


def _plain(paths: list[str], budget: Budget) -> Files:
    """Return files of which only the paths are known."""
    budget.keep(texts_size(paths) + NAME_COST * len(paths))
    return Files(Paths(paths))
