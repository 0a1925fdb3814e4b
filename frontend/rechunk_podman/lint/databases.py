"""Package databases: their write-ahead logs, and copies of them.

Sources: sqlite.org/wal.html; rpm's docs/manual (backends); rpm-ostree's docs
(usr/lib/sysimage/rpm-ostree-base-db).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.model import Kind
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.protocol import Ecosystem


def _databases(subject: Subject, ecosystem: Ecosystem, directories: Sequence[str]) -> list[str]:
    """Return the path of every database in the directories; do not follow symlinks."""
    return [
        path
        for directory in directories
        for name in ecosystem.locations.databases
        for path in (f"{directory}/{name}",)
        if (entry := subject.tree.get(path)) is not None and entry.kind is Kind.FILE and entry.size
    ]


def _wal(subject: Subject) -> Iterator[Finding]:
    for ecosystem in ECOSYSTEMS:
        locations = ecosystem.locations
        for path in _databases(subject, ecosystem, (*locations.directories, *locations.copies)):
            log = subject.tree.get(f"{path}-wal")
            if log is not None and log.size:
                yield Finding(
                    f"the database has an unfinished log of {log.size} bytes",
                    (f"{path}-wal",),
                    Severity.ERROR,
                )
            elif (facts := subject.facts.get(path)) is not None and facts.wal:
                yield Finding("the database is in WAL mode", (path,))


def _copies(subject: Subject) -> Iterator[Finding]:
    for ecosystem in ECOSYSTEMS:
        # All hard links to one file count as one database.
        seen: dict[tuple[int, int], str] = {}
        live, copies = (
            [path for path in _databases(subject, ecosystem, directories) if _is_first(subject, path, seen)]
            for directories in (ecosystem.locations.directories, ecosystem.locations.copies)
        )
        if len(live) > 1:
            yield Finding(f"several databases of {ecosystem.name}, of which tools read one", tuple(live))
        for copy in copies:
            twin = next((path for path in live if _same(subject, path, copy)), None)
            if twin is not None:
                yield Finding("the same database twice, not as a hard link", (twin, copy))


def _is_first(subject: Subject, path: str, seen: dict[tuple[int, int], str]) -> bool:
    entry = subject.tree[path]
    return seen.setdefault((entry.dev, entry.ino), path) == path


def _same(subject: Subject, one: str, other: str) -> bool:
    if subject.tree[one].size != subject.tree[other].size:
        return False
    return subject.sha256(one) == subject.sha256(other)


CHECKS = (
    Check(
        "rpmdb-wal",
        Severity.WARNING,
        "no package database is in WAL mode",
        "SQLite cannot open a database in WAL mode on a read-only file system without its log, and what "
        "is only in the log is lost to tools that do not know it; the log also differs at every build.",
        "as the last step: sqlite3 …/rpmdb.sqlite 'PRAGMA journal_mode=DELETE', or rpm --rebuilddb",
        _wal,
    ),
    Check(
        "rpmdb-copies",
        Severity.WARNING,
        "each package database is there once",
        "It changes with every package, and so every update downloads each copy (tens of MB) anew. A step "
        "in a Containerfile breaks the hard link between /usr/share/rpm and its copy; overlay copies it "
        "up.",
        "ln -f the one to the other in the last step that installs packages, or make the other place a "
        "symlink",
        _copies,
    ),
)
