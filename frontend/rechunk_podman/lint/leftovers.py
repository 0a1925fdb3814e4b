"""Files that builds leave behind or change every time: /var, /run, /tmp, caches, logs, journals.

Sources: packages/leftovers.py; bootc's documentation ("Filesystem", /var).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.model import Kind
from rechunk_podman.packages.leftovers import CACHES, JOURNALS, LEFTOVERS, LOGS
from rechunk_podman.units import plural


def _grouped(paths: list[str], depth: int = 3) -> str:
    """Return the first directories that contain the paths, for people."""
    tops = list(dict.fromkeys("/" + "/".join(path.split("/")[:depth]) for path in paths))
    return ", ".join(tops[:6]) + (f" and {len(tops) - 6} more" if len(tops) > 6 else "")


def _found(subject: Subject, paths: list[str], what: str, many: str | None = None) -> Iterator[Finding]:
    if paths:
        size = subject.tree.size_without({subject.tree.position[path] for path in paths})
        text = f"{plural(len(paths), what, many)}, {size} bytes: {_grouped(paths)}"
        yield Finding(text, tuple(paths))


def _is_other(path: str) -> bool:
    """Return True if another check of this module reports the path."""
    return any(pattern.match(path) for pattern in (CACHES, LOGS, JOURNALS)) or path.startswith("var/tmp/")


def _var(subject: Subject) -> Iterator[Finding]:
    if subject.bootable:
        paths = [p for p, e in subject.below("var") if e.kind is Kind.FILE and not _is_other(p)]
        yield from _found(subject, paths, "file in /var", "files in /var")


def _left(name: str, what: str, many: str | None = None) -> Callable[[Subject], Iterator[Finding]]:
    def run(subject: Subject) -> Iterator[Finding]:
        yield from _found(subject, LEFTOVERS[name](subject.tree, subject.text), what, many)

    return run


CHECKS = (
    Check(
        "var-content",
        Severity.WARNING,
        "nothing in /var of a bootable image",
        "ostree and bootc unpack /var once, at the first installation: files there never reach an "
        "installed machine by an update, and are downloaded all the same.",
        "put defaults below /usr and let tmpfiles.d create or copy them (C, d, L lines) at boot",
        _var,
    ),
    Check(
        "run-and-tmp",
        Severity.WARNING,
        "nothing in /run, /tmp and /var/tmp",
        "A tmpfs hides these files, or the system cleans them up: they are dead weight that changes at "
        "every build.",
        "rm -rf /run/* /tmp/* /var/tmp/* in the step that fills them, or RUN --mount=type=tmpfs,target=/tmp",
        _left("run-and-tmp", "file of a running system", "files of a running system"),
    ),
    Check(
        "caches",
        Severity.WARNING,
        "no caches of package managers and language tools",
        "They are large, nobody reads them in the image, and they change at every build.",
        "RUN --mount=type=cache,target=/var/cache …, or clean up in the same step: dnf clean all; apt-get "
        "clean; rm -rf /var/lib/apt/lists/* /var/cache/ldconfig/aux-cache /root/.cache",
        _left("caches", "cached file"),
    ),
    Check(
        "logs",
        Severity.WARNING,
        "no logs",
        "They hold times and so differ at every build; the layer that they are in is downloaded each time.",
        "find /var/log -type f -delete at the end of the build, or RUN --mount=type=tmpfs,target=/var/log …",
        _left("logs", "log"),
    ),
    Check(
        "package-journals",
        Severity.WARNING,
        "no transaction journals, locks and backups of package managers",
        "They record when a transaction ran, so that two builds of the same packages differ.",
        "rm -f the named files at the end of the build; nothing needs them to run or to update",
        _left("package-journals", "journal, lock or backup", "journals, locks or backups"),
    ),
)
