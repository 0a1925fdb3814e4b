"""Parsers of dpkg's text files. Pure. Paths are returned without the leading slash of these files.

Formats: deb-control(5) and dpkg's lib/dpkg/ (status), deb-md5sums(5), deb-changelog(5), dpkg-divert(1).
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from rechunk_podman.packages.budget import MOST_NAMES
from rechunk_podman.patterns import compile_later

_NARROW = bytes(range(0xF0))
"""The bytes in the UTF-8 encoding of characters below U+10000."""

FIELDS = frozenset(("package", "status", "version", "source", "architecture", "conffiles"))
"""The fields of a stanza that are read."""

_MOST_STANZA = 1 << 20
"""The largest number of characters in these fields."""

_MOST_LETTERS = 1024
"""The longest name, version or architecture, in characters; no file name is longer than 255 bytes."""

MOST_CHANGELOG = 8 << 20
"""The number of bytes of a changelog that are parsed; the newest entries come first."""

_MOST_ENTRIES = 20_000

FIRST_ENTRY = 64 << 10
"""Bytes that contain the first trailer of a Debian changelog; upstream changelogs, often large, have none."""

_TRAILER = compile_later(
    rb"\n -- [^\n]*  (?:[A-Z][a-z]{2}, *)?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) "
    rb"(\d\d):(\d\d):(\d\d) ([-+])(\d\d)(\d\d)"
)
_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DIGITS = {b"%02d" % number: number for number in range(100)}
_SOURCE = compile_later(r"(?P<name>[^\s()]+)(?:\s*\((?P<version>[^()\s]+)\))?\s*\Z")
_MD5 = compile_later(r"[0-9a-f]{32}\Z")
_ODD = ("", ".", "/", " ", "*")
"""Prefixes that no path in an ordinary line of MD5 sums has."""
_MD5_LINE = compile_later(r"^([0-9a-f]{32}) [ *]*([^ *\n][^\n]*)$", re.MULTILINE)


class Package(NamedTuple):
    """A binary package with files on the disk.

    is_removed: True if only configuration files remain.
    conffiles: path -> MD5 (hex) of the packaged file.
    """

    name: str
    architecture: str
    version: str
    source: str
    source_version: str
    is_removed: bool
    conffiles: dict[str, str]


class Diversion(NamedTuple):
    """The new path of a diverted file.

    package: the one package that keeps the old path, or "".
    """

    target: str
    package: str


def text(data: bytes) -> str:
    """Return bytes of a dpkg file as text; file names may have any encoding."""
    return data.decode("utf-8", "surrogateescape")


def decoded_size(data: bytes) -> int:
    """Return the largest memory size of text(data) in bytes: one wide character makes all wide."""
    if data.isascii():
        return len(data)
    return len(data) * (4 if data.translate(None, _NARROW) else 2)


def stanzas(data: bytes) -> Iterator[dict[str, str]]:
    """Yield the stanzas of a control file: name of a field of FIELDS -> value, lines joined by newlines."""
    fields: dict[str, list[str]] = {}
    is_empty, last = True, ""
    # to save memory, the data is neither decoded nor split as a whole
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="\n"):
        if not line.strip():
            if not is_empty:
                yield {field: "\n".join(values) for field, values in fields.items()}
            fields, is_empty, last = {}, True, ""
        elif line[0] in " \t":
            if last and len(fields[last]) < MOST_NAMES:
                fields[last].append(line.strip())
        else:
            field, colon, value = line.partition(":")
            is_empty &= not (field and colon)
            last = field.lower() if colon else ""
            if last in FIELDS:
                fields[last] = [value.strip()]
            else:
                last = ""
    if not is_empty:
        yield {field: "\n".join(values) for field, values in fields.items()}


def package(fields: dict[str, str]) -> Package | None:
    """Return the package of a stanza; None if it has no files on the disk.

    The source's version is in brackets if it differs from the package's (a binNMU).

    Raises:
        ValueError: there is no name, the Source field is malformed, or fields are absurdly long.
    """
    if sum(map(len, fields.values())) > _MOST_STANZA:
        raise ValueError("a stanza of absurd length")
    status = fields.get("status", "install ok installed").split()
    if status[-1:] in (["not-installed"], []):
        return None
    name, version = fields.get("package", ""), fields.get("version", "")
    if not name:
        raise ValueError("a stanza without a package name")
    if any(len(fields.get(field, "")) > _MOST_LETTERS for field in FIELDS - {"conffiles"}):
        raise ValueError("a field of absurd length")
    found = _SOURCE.match(fields.get("source") or name)
    if found is None or "/" in name:
        raise ValueError(f"package {name}: the source {fields.get('source')!r}")
    conffiles = {}
    for line in fields.get("conffiles", "").split("\n"):
        words = line.rsplit(" ")
        while len(words) > 2 and words[-1] in ("obsolete", "remove-on-upgrade"):
            del words[-1]
        if len(words) > 1 and _MD5.match(words[-1]):
            conffiles[" ".join(words[:-1]).removeprefix("/")] = words[-1]
    return Package(
        name,
        fields.get("architecture", ""),
        version,
        found["name"],
        found["version"] or version,
        "config-files" in status,
        conffiles,
    )


def paths(data: bytes) -> list[str]:
    """Return the paths of a .list file, without "/.". Lines that are no paths are skipped.

    Raises:
        ValueError: there are more than MOST_NAMES.
    """
    _check_lines(data)
    content = "\n" + text(data).rstrip("\n")
    found = content.split("\n/")[1:]
    if len(found) != content.count("\n"):
        found = [line[1:] for line in content.split("\n") if line.startswith("/")]
    return [path for path in found if path != "."]


def md5sums(data: bytes) -> dict[str, str]:
    """Return path -> MD5 (hex) of a .md5sums file. Other lines are skipped.

    Raises:
        ValueError: there are more than MOST_NAMES.
    """
    _check_lines(data)
    content = text(data)
    lines = content.removesuffix("\n").split("\n")
    # the form of nearly all lines
    plain = {line[34:]: line[:32] for line in lines if line[32:34] == "  " and line[34:35] not in _ODD}
    if len(plain) == len(lines):
        with suppress(ValueError):
            if len(bytes.fromhex("".join(plain.values()))) == 16 * len(plain):
                return plain
    return {
        path.removeprefix("./").lstrip("/") if path[0] in "./" else path: digest
        for digest, path in _MD5_LINE.findall(content)
    }


def _check_lines(data: bytes) -> None:
    if (lines := data.count(b"\n")) > MOST_NAMES:
        raise ValueError(f"{lines} lines")


def diversions(data: bytes) -> dict[str, Diversion]:
    """Return path -> diversion. Each has three lines: path, new path, package (":" for a local diversion).

    Raises:
        ValueError: there are more than MOST_NAMES lines.
    """
    _check_lines(data)
    lines = text(data).split("\n")
    return {
        path.removeprefix("/"): Diversion(target.removeprefix("/"), "" if owner == ":" else owner)
        for path, target, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    }


def changelog(data: bytes) -> bytes:
    """Return the first MOST_CHANGELOG bytes of a gzipped Debian changelog; b"" for an upstream changelog.

    Raises:
        ValueError: the data is not gzipped, or damaged.
    """
    try:
        stream = zlib.decompressobj(31)
        log = stream.decompress(data, FIRST_ENTRY)
        if not _holds_entry(log):
            return b""
        return log + stream.decompress(stream.unconsumed_tail, MOST_CHANGELOG)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _holds_entry(log: bytes) -> bool:
    return log.startswith(b" -- ") or b"\n -- " in log


def changelog_times(log: bytes) -> list[int]:
    """Return the epoch seconds in the trailer lines of a Debian changelog.

    Raises:
        ValueError: there are more than _MOST_ENTRIES.
    """
    log = b"\n" + log
    if log.count(b"\n -- ") > _MOST_ENTRIES:
        raise ValueError("a changelog of absurdly many entries")
    times = []
    for day, month, year, hour, minute, second, sign, zone_hours, zone_minutes in _TRAILER.findall(log):
        midnight = _midnight(day, month, year)
        if midnight is None:
            continue
        time = midnight + 3600 * _DIGITS[hour] + 60 * _DIGITS[minute] + _DIGITS[second]
        zone = 3600 * _DIGITS[zone_hours] + 60 * _DIGITS[zone_minutes]
        time += zone if sign == b"-" else -zone
        if time > 0:
            times.append(time)
    return times


@lru_cache(maxsize=1 << 14)
def _midnight(day: bytes, month: bytes, year: bytes) -> int | None:
    """Return the epoch seconds at which a day begins; None if there is no such day."""
    try:
        return 86400 * (date(int(year), _MONTHS[month], int(day)).toordinal() - _EPOCH_DAY)
    except (KeyError, ValueError):
        return None
