"""The rpm database: its journal, and copies of it.

Sources: sqlite.org/wal.html; rpm's docs/manual (backends); rpm-ostree's docs
(usr/lib/sysimage/rpm-ostree-base-db).
"""

from __future__ import annotations

from collections.abc import Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.lint.content import RPM_DATABASES
from rechunk_podman.model import Kind
from rechunk_podman.packages.rpm.database import PLACES

_BASE = "usr/lib/sysimage/rpm-ostree-base-db"


def _databases(subject: Subject) -> list[str]:
    """Every path (not reached through symlinks) at which a database of rpm lies."""
    return [
        path
        for place in (*PLACES, _BASE)
        for name in RPM_DATABASES
        for path in (f"{place}/{name}",)
        if (entry := subject.tree.get(path)) is not None and entry.kind is Kind.FILE and entry.size
    ]


def _wal(subject: Subject) -> Iterator[Finding]:
    for path in _databases(subject):
        log = subject.tree.get(f"{path}-wal")
        if log is not None and log.size:
            yield Finding(
                f"the database has an unfinished log of {log.size} bytes", (f"{path}-wal",), Severity.ERROR
            )
        elif (facts := subject.facts.get(path)) is not None and facts.wal:
            yield Finding("the database is in WAL mode", (path,))


def _copies(subject: Subject) -> Iterator[Finding]:
    seen: dict[tuple[int, int], str] = {}
    for path in _databases(subject):
        entry = subject.tree[path]
        seen.setdefault((entry.dev, entry.ino), path)
    paths = list(seen.values())
    live = [path for path in paths if not path.startswith(_BASE)]
    if len(live) > 1:
        yield Finding("several databases of rpm, of which tools read one", tuple(live))
    for copy in (path for path in paths if path.startswith(_BASE)):
        twin = next((path for path in live if _same(subject, path, copy)), None)
        if twin is not None:
            yield Finding("the same database twice, not as a hard link", (twin, copy))


def _same(subject: Subject, one: str, other: str) -> bool:
    if subject.tree[one].size != subject.tree[other].size:
        return False
    return subject.sha256(one) == subject.sha256(other)


CHECKS = (
    Check(
        "rpmdb-wal",
        Severity.WARNING,
        "the rpm database is not in WAL mode",
        "SQLite cannot open a database in WAL mode on a read-only file system without its log, and what "
        "is only in the log is lost to tools that do not know it; the log also differs at every build.",
        "as the last step: sqlite3 …/rpmdb.sqlite 'PRAGMA journal_mode=DELETE', or rpm --rebuilddb",
        _wal,
    ),
    Check(
        "rpmdb-copies",
        Severity.WARNING,
        "the rpm database is there once",
        "It changes with every package, and so every update downloads each copy (tens of MB) anew. A step "
        "in a Containerfile breaks the hard link between /usr/share/rpm and its copy; overlay copies it "
        "up.",
        "ln -f the one to the other in the last step that installs packages, or make the other place a "
        "symlink",
        _copies,
    ),
)
