"""The reader of Composer: vendor/composer/installed.json.

A component is a package. Source: Composer's documentation, "Runtime Composer utilities" (installed.json,
install-path), "The composer.json schema" (bin), "Versions and constraints".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath

from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import PACKAGE_COST, Budget, texts_size
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.php.version import compare
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "php"
locations = Locations(
    scattered=("**/composer/installed.json",), caches=("root/.composer/cache/**", "home/*/.composer/cache/**")
)


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the records: see Ecosystem.load()."""
    budget = Budget("of Composer")
    packages: list[Package] = []
    directories = []
    for path in records:
        data = scattered.read(root, path, scattered.MOST_JSON, budget)
        if data is None:
            continue
        directory = path.rpartition("/")[0]
        try:
            for number, record in enumerate(records_of(data, budget), 1):
                budget.record()
                try:
                    package = parse(record, directory, files=files)
                except ValueError as error:
                    budget.warn_left_out(f"{root.show(path)}, package {number}", error)
                    continue
                budget.keep(PACKAGE_COST + texts_size(package.trees))
                packages.append(package)
        except ValueError as error:
            budget.warn_left_out(root.show(path), error)
            continue
        directories.append(directory)
    return Database(packages, directories) if directories else None


def records_of(data: bytes, budget: Budget) -> Iterator[Mapping[str, object]]:
    """Yield the packages of an installed.json: an object of Composer 2, or the list of Composer 1.

    Raises:
        ValueError: the data is neither.
        DatabaseError: the budget is spent.
    """
    if data.lstrip()[:1] == b"[":
        data = b'{"packages":%s}' % data
    found = scattered.json_object(data, budget).get("packages")
    if not isinstance(found, list):
        raise ValueError("no list of packages")
    for record in found:
        yield record if isinstance(record, dict) else {}


def parse(record: Mapping[str, object], directory: str, *, files: bool = True) -> Package:
    """Return a package.

    Args:
        directory: that of installed.json.

    Raises:
        ValueError: it has no name.
    """
    package, version = scattered.plain(record.get("name")), scattered.plain(record.get("version"))
    if not package:
        raise ValueError("no name")
    if not files:
        return Package(package, version, package, version)
    vendor = directory.rpartition("/")[0]
    installed = record.get("install-path", f"../{package}")
    if not isinstance(installed, str):
        # a metapackage has no files
        return Package(package, version, package, version)
    installed = installed.encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    tree = normpath(f"/{directory}/{installed}").lstrip("/")
    is_own = tree and not f"{directory}/".startswith(f"{tree}/")
    programs = record.get("bin")
    names = [
        file.encode("utf-8", "replace").decode("utf-8", "surrogateescape").rpartition("/")[2]
        for file in (programs if isinstance(programs, list) else ())[:1000]
        if isinstance(file, str)
    ]
    return Package(
        package,
        version,
        package,
        version,
        files=Files(Paths([f"{vendor}/bin/{name}" for name in names])),
        # the root package of a project would take everything
        trees=[tree] if is_own else (),
    )
