"""Texts that describe installed Python distributions. Pure.

Sources: the Python Packaging User Guide, "Recording installed projects" (dist-info, RECORD, INSTALLER),
"Name normalization" and "Binary distribution format" (names in file names); setuptools' documentation,
"The Internal Structure of Python Eggs" (egg-info, top_level.txt); PEP 405 (pyvenv.cfg).
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Sequence
from posixpath import normpath
from typing import NamedTuple

from rechunk_podman.packages.budget import MOST_NAMES
from rechunk_podman.patterns import compile_later

_SITE = compile_later(
    r"(?P<prefix>.*?)/?(?:lib|lib64)/(?:python|pypy)[0-9.]*/(?:site|dist)-packages(?P<below>/.+)?\Z",
    re.DOTALL,
)
_SEPARATORS = compile_later(r"[-_.]+")
_MOST_FIELDS = 4 * MOST_NAMES


class Recorded(NamedTuple):
    """A file in a RECORD.

    path: canonical but for symlinks, without a leading slash.
    digest: SHA-256 in hexadecimal digits; None if there is none.
    size: bytes; -1 if unknown.
    """

    path: str
    digest: str | None
    size: int


def prefix_of(site: str) -> str:
    """Return the prefix of an installation by its directory of modules: usr, usr/local, opt/venv.

    A directory of another form (`pip install --target`) is a prefix itself.
    """
    match = _SITE.match(site)
    return site if match is None else match["prefix"]


def is_vendored(site: str) -> bool:
    """Return True if a directory of modules lies in a distribution of another one, as setuptools/_vendor."""
    match = _SITE.match(site)
    return match is not None and match["below"] is not None


def name_and_version(directory: str) -> tuple[str, str]:
    """Return the normalised name, and the version, in the name of a dist-info or egg-info directory.

    The version is "" if there is none. The name is "" if the directory has none.
    """
    stem, _, kind = directory.rpartition(".")
    name, _, version = stem.partition("-")
    if kind in ("egg-info", "egg"):
        version = re.split(r"-py\d", version, maxsplit=1)[0]
    return _SEPARATORS.sub("-", name).lower(), version


def join(directory: str, path: str) -> str:
    """Return a path of a record without `.` and `..`; they end at the root. Symlinks are not known here."""
    if path.startswith("/"):
        directory = ""
    if "./" in path or "//" in path or path.endswith("."):
        return normpath(f"/{directory}/{path}").lstrip("/")
    return f"{directory}/{path.lstrip('/')}".lstrip("/")


def record(data: bytes, site: str) -> list[Recorded]:
    """Return the files that a RECORD lists.

    Raises:
        ValueError: the data is not a RECORD, or lists more than MOST_NAMES files.
    """
    if data.count(b"\n") > MOST_NAMES or data.count(b",") > _MOST_FIELDS:
        raise ValueError(f"more than {MOST_NAMES} files")
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    found = []
    try:
        for row in csv.reader(lines):
            if row and row[0]:
                digest = _digest(row[1]) if len(row) > 1 else None
                size = int(row[2]) if len(row) > 2 and _is_size(row[2]) else -1
                found.append(Recorded(join(site, row[0]), digest, size))
    except csv.Error as error:
        raise ValueError(f"not a list of files: {error}") from error
    return found


def _is_size(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 19


def _digest(text: str) -> str | None:
    algorithm, _, encoded = text.partition("=")
    if algorithm != "sha256" or len(encoded) != 43:
        return None
    try:
        return base64.urlsafe_b64decode(f"{encoded}=").hex()
    except (ValueError, binascii.Error):
        return None


def lines(data: bytes) -> list[str]:
    """Return the lines of a text that are not empty: of top_level.txt, or of installed-files.txt.

    Raises:
        ValueError: there are more than MOST_NAMES lines.
    """
    if data.count(b"\n") > MOST_NAMES:
        raise ValueError(f"more than {MOST_NAMES} lines")
    text = data.decode("utf-8", "surrogateescape")
    return [stripped for line in text.split("\n") if (stripped := line.strip())]


def field(data: bytes, name: str) -> str:
    """Return the value of the first line `NAME: VALUE` or `NAME = VALUE`; "" if there is none."""
    match = re.search(rb"^%s[ \t]*[:=][ \t]*(\S+)" % name.encode(), data, re.MULTILINE)
    return match[1].decode("utf-8", "surrogateescape") if match else ""


def modules(names: Sequence[str], site: str) -> tuple[list[str], list[str]]:
    """Return the files and the directories that the names of top_level.txt stand for."""
    plain = [name for name in names if "/" not in name and name not in (".", "..")]
    return [f"{site}/{name}.py" for name in plain], [f"{site}/{name}" for name in plain]
