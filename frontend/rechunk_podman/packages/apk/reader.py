"""The reader of apk's database, lib/apk/db/installed.

Format: apk-tools' doc/apk-package(5) and Alpine's wiki, "Apk spec": paragraphs of lines `LETTER:VALUE`. P is
the name, V the version, A the architecture, o the origin (the source package), t the build time. F begins a
directory; each R is a file in it, followed by `a:UID:GID:MODE` (mode 644 if it is missing) and `Z:DIGEST`: Q1
and the SHA-1 in base64. `S` among the flags `f` says that the digests are the first 20 bytes of SHA-256. The
digest of a symlink is that of its target's name. Scripts and triggers of all packages are in one file each,
which belong to the database.
"""

from __future__ import annotations

import binascii
import io
from collections.abc import Iterator, Sequence

import numpy as np

from rechunk_podman.packages.apk.version import compare_apk
from rechunk_podman.packages.budget import MOST_NAMES, NAME_COST, PACKAGE_COST, Budget, text_size
from rechunk_podman.packages.digests import SHA1, SHA256, Digests
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import NO_FILES, Database, Files, Package, Paths
from rechunk_podman.packages.reading import exists, read_database
from rechunk_podman.rootfs.root import Root

name = "apk"
_DIRECTORIES = ("lib/apk/db", "usr/lib/apk/db")
locations = Locations(
    directories=_DIRECTORIES,
    databases=("installed",),
    state=("etc/apk/world",),
    journals=tuple(f"{directory}/{file}" for directory in _DIRECTORIES for file in ("lock", "*.new")),
    caches=("var/cache/apk/**", "etc/apk/cache/**"),
)
compare = compare_apk

_HINT = "repair it with `apk fix`"
_MOST_DATABASE = 64 << 20
"""Bytes; a database of a million files has about as many."""
_MOST_LETTERS = 1024
"""The longest name, version or architecture, in characters."""
_MOST_LINE = 64 << 10
"""The longest line that is kept, in characters; others are records that are broken."""
_DEFAULT_MODE = 0o644
_DIGEST_SIZE = 20
"""Bytes of a digest."""


def load(root: Root, records: Sequence[str] = (), *, files: bool = True) -> Database | None:
    """Return the content of the databases: see Ecosystem.load()."""
    found = dict.fromkeys(map(root.resolve_or_keep, locations.directories))
    directories = [directory for directory in found if exists(root, f"{directory}/installed")]
    if not directories:
        return None
    budget = Budget(root.show(f"{directories[0]}/installed"))
    packages: list[Package] = []
    for directory in directories:
        path = f"{directory}/installed"
        budget.database = root.show(path)
        data = read_database(root, path, _MOST_DATABASE, budget, _HINT)
        for number, lines in enumerate(split(data, budget, files), 1):
            try:
                packages.append(parse(lines, files=files))
            except ValueError as error:
                label = next((line[2:] for line in lines if line.startswith("P:")), f"package {number}")
                budget.warn_left_out(label, error)
    budget.require_a_record(packages)
    return Database(packages, directories)


def split(data: bytes, budget: Budget, files: bool = True) -> Iterator[list[str]]:
    """Yield the lines of each record.

    Args:
        files: False leaves out the lines that describe files.

    Raises:
        DatabaseError: the budget is spent.
    """
    wanted = "PVAotfFRaZ" if files else "PVAo"
    lines: list[str] = []
    # the data is not decoded as a whole: names of files may be of any encoding
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="\n"):
        if len(line) > 2:
            if line[0] in wanted:
                line = line[: _MOST_LINE + 1].rstrip("\n")
                budget.keep(0 if lines else PACKAGE_COST, text_size(line))
                if line[0] in "FR":
                    budget.keep(NAME_COST + text_size(line))
                lines.append(line)
        elif lines:
            budget.record()
            yield lines
            lines = []
    if lines:
        budget.record()
        yield lines


def parse(lines: Sequence[str], *, files: bool = True) -> Package:
    """Return the package of a record.

    Raises:
        ValueError: a field is missing or malformed, or the record is absurdly long.
    """
    fields: dict[str, str] = {}
    listed = _Listed()
    if any(len(line) > _MOST_LINE for line in lines) or len(lines) > 4 * MOST_NAMES:
        raise ValueError("a record of absurd length")
    for line in lines:
        field, value = line[0], line[2:]
        if line[1] != ":":
            raise ValueError(f"the line {line[:80]!r}")
        if field in "FRaZ":
            listed.add(field, value)
        else:
            fields[field] = value
    package, version = fields.get("P", ""), fields.get("V", "")
    if not (package and version) or any(len(value) > _MOST_LETTERS for value in fields.values()):
        raise ValueError("no name or no version, or an absurdly long one")
    built = fields.get("t", "")
    return Package(
        name=package,
        version=version,
        source=fields.get("o") or package,
        source_version=version,
        architecture=fields.get("A", ""),
        built=int(built) if built.isdecimal() and len(built) < 12 else None,
        files=listed.files(SHA256 if "S" in fields.get("f", "") else SHA1) if files else NO_FILES,
    )


class _Listed:
    """The files of a package, line by line."""

    __slots__ = ("_digests", "_directory", "_modes", "_paths")

    def __init__(self) -> None:
        self._directory = ""
        self._paths: list[str] = []
        self._digests: list[str | None] = []
        self._modes: list[int] = []

    def add(self, field: str, value: str) -> None:
        """Add a line.

        Raises:
            ValueError: the line is malformed.
        """
        if field == "F":
            self._directory = f"{value}/" if value else ""
            path = value
        elif field == "R":
            path = self._directory + value
        else:
            if self._paths and field == "a" and value.count(":") >= 2:
                self._modes[-1] = int(value.split(":")[2], 8) & 0o7777
            elif self._paths and field == "Z":
                self._digests[-1] = _digest(value)
            return
        if path:
            self._paths.append(path)
            self._digests.append(None)
            self._modes.append(_DEFAULT_MODE)

    def files(self, algorithm: int) -> Files:
        """Return the columns."""
        return Files(
            Paths(self._paths),
            digests=Digests.parse(self._digests, algorithm),
            modes=np.array(self._modes, np.uint16),
        )


def _digest(text: str) -> str | None:
    """Return the hexadecimal digits of a digest in base64; None if it is of an unknown kind."""
    if not text.startswith("Q1"):
        return None
    try:
        digest = binascii.a2b_base64(text[2:])
    except binascii.Error as error:
        raise ValueError(f"the digest {text[:80]!r}") from error
    if len(digest) != _DIGEST_SIZE:
        raise ValueError(f"the digest {text[:80]!r}")
    return digest.hex()
