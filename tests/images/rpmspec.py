"""Debian's source packages, as found in an installed root filesystem, written as rpm spec files."""

from __future__ import annotations

import functools
import gzip
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

from images.cache import call

#: (epoch seconds, "Name <mail>", version, lines)
Change = tuple[int, str, str, tuple[str, ...]]


@dataclass(frozen=True)
class SourcePackage:
    """The input of one spec file. Paths are absolute, as the Debian package lists them."""

    name: str
    version: str
    release: str
    build_time: int
    changelog: tuple[Change, ...]
    binaries: dict[str, tuple[str, ...]]
    epoch: str = ""
    config: frozenset[str] = field(default=frozenset())
    ghosts: frozenset[str] = field(default=frozenset())


def read_sources(root: Path) -> list[SourcePackage]:
    """Every source package of which binary packages are installed in a Debian root filesystem, by name."""
    database = root / "var/lib/dpkg"
    binaries: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    versions: dict[str, str] = {}
    config: dict[str, set[str]] = defaultdict(set)
    for record in _records((database / "status").read_text()):
        if "installed" not in record["Status"].split():
            continue
        package = record["Package"]
        words = record.get("Source", package).replace("(", " ").replace(")", " ").split()
        source = words[0]
        versions[source] = words[1] if len(words) > 1 else record["Version"]
        listing = database / "info" / f"{package}.list"
        if not listing.exists():
            listing = database / "info" / f"{package}:{record['Architecture']}.list"
        paths = (line for line in listing.read_text().splitlines() if line not in ("", "/."))
        binaries[source][package] = tuple(path for path in paths if _is_own(root, path))
        config[source].update(
            line.split()[0] for line in record.get("Conffiles", "").splitlines() if line.strip()
        )
    return [
        _source(root, name, versions[name], binaries[name], frozenset(config[name]))
        for name in sorted(binaries)
    ]


def spec(source: SourcePackage, root: Path) -> str:
    """The text of a spec file whose packages take their files from `root` as they stand there."""
    names = sorted(source.binaries)
    lines = [f"Name: {source.name}", f"Version: {source.version}", f"Release: {source.release}"]
    if source.epoch:
        lines.append(f"Epoch: {source.epoch}")
    lines += [
        "Summary: A test package",
        "License: various",
        "AutoReqProv: no",
        "",
        "%description",
        "Test content.",
        "",
    ]
    for name in names:
        if name != source.name:
            lines += [f"%package -n {name}", "Summary: A test package", "AutoReqProv: no", ""]
            lines += [f"%description -n {name}", "Test content.", ""]
    lines += ["%install", ":", ""]
    capabilities = _capabilities(root)
    for name in names:
        lines.append("%files" if name == source.name else f"%files -n {name}")
        lines += [_file_line(root, path, source, capabilities) for path in source.binaries[name]]
        lines.append("")
    lines.append("%changelog")
    for when, who, version, texts in source.changelog:
        lines.append(f"* {time.strftime('%a %b %d %Y', time.gmtime(when))} {_plain(who)} - {_plain(version)}")
        lines += [f"- {_plain(text)}" for text in texts]
        lines.append("")
    return "\n".join(lines) + "\n"


def _file_line(root: Path, path: str, source: SourcePackage, capabilities: dict[str, str]) -> str:
    words = []
    real = root / path.lstrip("/")
    if path in source.ghosts:
        words += ["%ghost", "%attr(0664, root, utmp)"]
    else:
        status = os.lstat(real)
        owner = _name(root / "etc/passwd", status.st_uid)
        group = _name(root / "etc/group", status.st_gid)
        mode = "-" if stat.S_ISLNK(status.st_mode) else f"{stat.S_IMODE(status.st_mode):04o}"
        words.append(f"%attr({mode}, {owner}, {group})")
        if stat.S_ISDIR(status.st_mode):
            words.append("%dir")
        inner = os.path.join(os.path.realpath(real.parent), real.name)
        if inner in capabilities:
            words.append(f"%caps({capabilities[inner]})")
    if path in source.config:
        words.append("%config(noreplace)")
    plain = path.replace("%", "%%")
    words.append(f'"{plain}"' if " " in path else plain)
    return " ".join(words)


@functools.cache
def _name(database: Path, number: int) -> str:
    """Who has a number in a passwd or group file."""
    fields = (line.split(":") for line in database.read_text().splitlines())
    return next(name for name, _, found, *_ in fields if int(found) == number)


def _capabilities(root: Path) -> dict[str, str]:
    """Real path -> the capabilities of every file that has some, as setcap writes them."""
    found = {}
    for line in call("getcap", "-r", os.path.realpath(root)).splitlines():
        path, _, text = line.rpartition(" ")
        found[path] = text
    return found


def _is_own(root: Path, path: str) -> bool:
    """Return True if a listed path exists below the root and is not one of the links of the merged /usr."""
    real = root / path.lstrip("/")
    if not os.path.lexists(real):
        return False
    top = path.count("/") == 1
    return not (top and (real.is_symlink() or real.is_dir()))


def _source(
    root: Path, name: str, version: str, binaries: dict[str, tuple[str, ...]], config: frozenset[str]
) -> SourcePackage:
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-")
    changelog = _changelog(root, binaries)
    return SourcePackage(
        name=name,
        version=upstream or revision,
        release=revision if upstream else "1",
        epoch=epoch,
        build_time=changelog[0][0] if changelog else 1600000000,
        changelog=changelog,
        binaries=binaries,
        config=config,
    )


def _changelog(root: Path, binaries: Iterable[str]) -> tuple[Change, ...]:
    """The newest 30 entries of the Debian changelog, in the falling order that rpmbuild insists on."""
    for binary in binaries:
        for name in ("changelog.Debian.gz", "changelog.gz"):
            file = root / "usr/share/doc" / binary / name
            if file.is_file() and (
                changes := _in_order(gzip.decompress(file.read_bytes()).decode(errors="replace"))
            ):
                return changes
    return ()


def _in_order(text: str) -> tuple[Change, ...]:
    changes: list[Change] = []
    version = ""
    lines: list[str] = []
    for line in text.splitlines():
        if head := re.match(r"\S+ \(([^)]+)\)", line):
            version, lines = head[1], []
        elif tail := re.match(r" -- (.+?)  (.+)$", line):
            try:
                when = int(parsedate_to_datetime(tail[2]).timestamp())
            except ValueError:
                continue
            if not changes or when <= changes[-1][0]:
                changes.append((when, tail[1], version.rpartition(":")[2], tuple(lines) or ("No details.",)))
        elif bullet := re.match(r"  \* (.+)", line):
            lines.append(bullet[1])
        if len(changes) == 30:
            break
    return tuple(changes)


def _records(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        record: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line[0] in " \t":
                record[key] += "\n" + line.strip()
            else:
                key, _, value = line.partition(":")
                record[key] = value.strip()
        if record:
            yield record


def _plain(text: str) -> str:
    """Text that rpm takes for nothing but text."""
    return text.replace("%", "%%")
