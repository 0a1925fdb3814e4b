"""The reader of gems: specifications below a gem home, and Bundler's checkouts.

A component is a gem; all its versions are one. Sources: RubyGems' documentation, "Specification Reference"
and `gem help environment` (GEM_HOME); rubygems' stub line (Gem::StubSpecification).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.packages.ruby.version import compare
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

__all__ = ["compare", "load", "locations", "name"]

name = "ruby"
locations = Locations(scattered=("**/specifications/*.gemspec", "**/bundler/gems/*/*.gemspec"))

_MOST = 256 << 10
"""Bytes of the largest specification that is read."""
_MOST_PROGRAMS = 8 << 10
"""Bytes of the list of programs."""
_STUB = compile_later(rb"^# stub: (\S+) (\S+) (\S+) ", re.MULTILINE)
_EXECUTABLES = compile_later(rb"^[ \t]*s\.executables = \[([^\]]*)\]", re.MULTILINE)
_TEXT = compile_later(rb'"([^"/\\]+)"')


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the records: see Ecosystem.load()."""
    budget = Budget("of RubyGems")
    packages: list[Package] = []
    for path in records:
        budget.record()
        budget.keep(PACKAGE_COST + 8 * text_size(path))
        data = scattered.read(root, path, _MOST, budget)
        if data is None:
            continue
        try:
            packages.append(parse(data, path, files=files))
        except ValueError as error:
            budget.warn_left_out(root.show(path), error)
    return Database(packages) if packages else None


def parse(data: bytes, path: str, *, files: bool = True) -> Package:
    """Return the gem of a specification; it is Ruby code, of which a comment and one line are read.

    Raises:
        ValueError: the comment is missing, and the name of the file tells no name.
    """
    directory, _, file = path.rpartition("/")
    full = file.removesuffix(".gemspec")
    stub = _STUB.search(data)
    is_installed = directory.endswith("specifications")
    name = scattered.plain(stub[1].decode("ascii", "replace")) if stub else ""
    version = scattered.plain(stub[2].decode("ascii", "replace")) if stub else ""
    if not name:
        # NAME-VERSION[-PLATFORM]; a checkout of Bundler has NAME alone
        match = re.match(r"(?P<name>.+?)(?:-(?P<version>\d[^-]*)(?:-.+)?)?\Z", full, re.DOTALL)
        name, version = (match["name"], match["version"] or "") if match else ("", "")
    if not name:
        raise ValueError("no name")
    if not files:
        return Package(name, version, name, version)
    if not is_installed:
        return Package(name, version, name, version, trees=[directory], record=path)
    home = directory.rpartition("/")[0]
    own = [path, f"{home}/build_info/{full}.info", f"{home}/cache/{full}.gem"]
    executables = _EXECUTABLES.search(data)
    for executable in _TEXT.findall(executables[1][:_MOST_PROGRAMS]) if executables else ():
        # below GEM_HOME, and where Ruby's own prefix is: PREFIX/lib/ruby/gems/VERSION
        program = executable.decode("utf-8", "surrogateescape")
        own += [f"{home}/bin/{program}", f"{home.partition('/lib/ruby/')[0]}/bin/{program}"]
    trees = [f"{home}/{kind}/{full}" for kind in ("gems", "doc")]
    return Package(name, version, name, version, files=Files(Paths(own)), trees=trees, record=path)
