"""Hard links, special files and names that some client cannot take.

Sources: bootc issues 637 and 856 (hard links around /etc), rpm-ostree issue 5479 and ext4 (EXT4_LINK_MAX,
65,000 links to a file); containers/storage, pkg/chunked (what a zstd:chunked table of contents can hold);
bootc's lint `utf8`; user_namespaces(7) (no mknod).
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.model import Kind
from rechunk_podman.units import plural

MAX_LINKS = 65_000
_CONFIGURATION = ("etc/", "usr/etc/")


def _groups(subject: Subject) -> dict[str, list[str]]:
    """Return the first path of each hard-link group -> all its paths."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path, first in subject.tree.links.items():
        groups[first].append(path)
    return {first: [first, *paths] for first, paths in groups.items()}


def _around_etc(subject: Subject) -> Iterator[Finding]:
    severity = None if subject.bootable else Severity.NOTE
    for paths in _groups(subject).values():
        if any(path.startswith(_CONFIGURATION) for path in paths):
            where = "within /etc" if all(p.startswith(_CONFIGURATION) for p in paths) else "into /etc"
            yield Finding(
                f"a file with {plural(len(paths), 'name')}: hard links {where}", tuple(paths), severity
            )


def _too_many(subject: Subject) -> Iterator[Finding]:
    for paths in _groups(subject).values():
        if len(paths) > MAX_LINKS:
            yield Finding(f"a file with {len(paths)} names", (paths[0],))


def _special(subject: Subject) -> Iterator[Finding]:
    severity = None if subject.zstd_chunked else Severity.NOTE
    for kinds, what in (((Kind.FIFO,), "FIFO"), ((Kind.CHAR, Kind.BLOCK), "device node")):
        paths = tuple(subject.paths(*kinds))
        if paths:
            yield Finding(plural(len(paths), what), paths, severity)


def _is_odd(path: str) -> bool:
    if path.isascii() and path.isprintable():
        return "\\" in path or "//" in path
    return any(
        0xDC80 <= ord(c) <= 0xDCFF or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in path
    )


def _names(subject: Subject) -> Iterator[Finding]:
    undecodable: list[str] = []
    odd: list[str] = []
    for path in subject.tree:
        if _is_odd(path):
            is_utf8 = not any(0xDC80 <= ord(character) <= 0xDCFF for character in path)
            (odd if is_utf8 else undecodable).append(path)
    if undecodable:
        severity = None if subject.zstd_chunked or subject.bootable else Severity.NOTE
        yield Finding(f"{plural(len(undecodable), 'name')} not in UTF-8", tuple(undecodable), severity)
    if odd:
        severity = Severity.WARNING if subject.zstd_chunked else Severity.NOTE
        yield Finding(
            f"{plural(len(odd), 'name')} with control characters or backslashes", tuple(odd), severity
        )
    links = [
        path
        for path in subject.paths(Kind.SYMLINK)
        if any(0xDC80 <= ord(character) <= 0xDCFF for character in subject.tree[path].target or "")
    ]
    if links:
        severity = None if subject.zstd_chunked or subject.bootable else Severity.NOTE
        yield Finding(f"{plural(len(links), 'symlink')} to a name not in UTF-8", tuple(links), severity)


CHECKS = (
    Check(
        "etc-hard-links",
        Severity.ERROR,
        "no hard links in or into /etc",
        "ostree moves /etc to /usr/etc while it unpacks a layer and does not find the other name of a "
        "hard link: the update fails with 'Processing deferred hardlink'.",
        "copy instead of linking (cp --remove-destination, or cp -a to a new name and mv); storage "
        "drivers other than overlay keep links that overlay breaks",
        _around_etc,
    ),
    Check(
        "hard-link-limit",
        Severity.ERROR,
        f"no file with more than {MAX_LINKS:,} names",
        "ext4 allows 65,000 links to a file: the layer cannot be unpacked there ('too many links').",
        "make separate copies of the file, or symlinks",
        _too_many,
    ),
    Check(
        "special-files",
        Severity.ERROR,
        "no FIFOs and devices where zstd:chunked is planned",
        "Pulled as zstd:chunked such files vanish, or the pull fails; rootless storage loses device nodes "
        "in any case.",
        "remove them and let tmpfiles.d (p+, c, b lines) create them at boot, or push gzip or plain zstd",
        _special,
    ),
    Check(
        "odd-names",
        Severity.ERROR,
        "names are text",
        "Names that are not UTF-8 cannot stand in the JSON table of a zstd:chunked layer, which then "
        "cannot be pulled; bootc refuses them in any image.",
        "rename the files (convmv shows and converts them), or push gzip or plain zstd",
        _names,
    ),
)
