"""Files that builds leave behind or change every time: /var, /run, /tmp, caches, logs, journals.

Sources: file-hierarchy(7); bootc's documentation ("Filesystem", /var); the caches and logs of dnf, apt,
pacman, zypper, apk, npm and Next.js; ldconfig(8) (its auxiliary cache records inode numbers and times).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.model import Kind
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import matching
from rechunk_podman.units import plural

_ECOSYSTEMS = [ecosystem.locations for ecosystem in ECOSYSTEMS]
_CACHES = matching(
    (
        *(glob for locations in _ECOSYSTEMS for glob in locations.caches),
        *(f"var/cache/{tool}/**" for tool in ("man", "PackageKit", "ldconfig", "swcatalog", "app-info")),
        *(
            f"{home}/{cache}/**"
            for home in ("root", "home/*", "var/roothome", "var/home/*")
            for cache in (".cache", ".npm/_cacache", ".cargo/registry", "go/pkg/mod/cache")
        ),
        "usr/local/share/.cache/**",
        # of Node's tools, wherever the application is; .next/trace holds times of the build
        *("**/.next/cache/**", "**/.next/trace", "**/node_modules/.cache/**"),
    )
)
_LOGS = re.compile(
    r"(?:(?:home/[^/]+|var/home/[^/]+|var/roothome|root)/\.npm/_logs/.+|var/log/.+|var/lib/systemd/coredump/.+|var/crash/.+|root/[^/]*install\.log)\Z"
)
_JOURNALS = matching(
    (
        *(glob for locations in _ECOSYSTEMS for glob in locations.journals),
        "var/lib/alternatives/**.old",
        *(f"etc/{file}-" for file in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
        "etc/.pwd.lock",
    )
)
_RUNTIME = ("run", "tmp", "var/tmp", "var/run", "var/lock")
_OF_BUILDERS = re.compile(r"run/(?:\.containerenv|secrets(?:/.*)?|lock|\.dockerenv)\Z")


def _grouped(paths: list[str], depth: int = 3) -> str:
    """Return the first directories that contain the paths, for people."""
    tops = list(dict.fromkeys("/" + "/".join(path.split("/")[:depth]) for path in paths))
    return ", ".join(tops[:6]) + (f" and {len(tops) - 6} more" if len(tops) > 6 else "")


def _found(subject: Subject, paths: list[str], what: str, many: str | None = None) -> Iterator[Finding]:
    if paths:
        size = sum(subject.tree[path].size for path in paths if path not in subject.tree.links)
        text = f"{plural(len(paths), what, many)}, {size} bytes: {_grouped(paths)}"
        yield Finding(text, tuple(paths))


def _is_other(path: str) -> bool:
    """Return True if another check of this module reports the path."""
    return any(pattern.match(path) for pattern in (_CACHES, _LOGS, _JOURNALS)) or path.startswith("var/tmp/")


def _var(subject: Subject) -> Iterator[Finding]:
    if subject.bootable:
        paths = [p for p, e in subject.below("var") if e.kind is Kind.FILE and not _is_other(p)]
        yield from _found(subject, paths, "file in /var", "files in /var")


def _runtime(subject: Subject) -> Iterator[Finding]:
    paths = [
        path
        for top in _RUNTIME
        for path, entry in subject.below(top)
        if entry.kind is not Kind.DIRECTORY and not _OF_BUILDERS.match(path)
    ]
    yield from _found(subject, paths, "file of a running system", "files of a running system")


def _caches(subject: Subject) -> Iterator[Finding]:
    paths = subject.files(_CACHES)
    yield from _found(subject, paths, "cached file")


def _logs(subject: Subject) -> Iterator[Finding]:
    paths = [path for path in subject.files(_LOGS) if subject.tree[path].size]
    yield from _found(subject, paths, "log")


def _journals(subject: Subject) -> Iterator[Finding]:
    paths = [path for path in subject.files(_JOURNALS) if subject.tree[path].size]
    yield from _found(subject, paths, "journal, lock or backup", "journals, locks or backups")


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
        _runtime,
    ),
    Check(
        "caches",
        Severity.WARNING,
        "no caches of package managers and language tools",
        "They are large, nobody reads them in the image, and they change at every build.",
        "RUN --mount=type=cache,target=/var/cache …, or clean up in the same step: dnf clean all; apt-get "
        "clean; rm -rf /var/lib/apt/lists/* /var/cache/ldconfig/aux-cache /root/.cache",
        _caches,
    ),
    Check(
        "logs",
        Severity.WARNING,
        "no logs",
        "They hold times and so differ at every build; the layer that they are in is downloaded each time.",
        "find /var/log -type f -delete at the end of the build, or RUN --mount=type=tmpfs,target=/var/log …",
        _logs,
    ),
    Check(
        "package-journals",
        Severity.WARNING,
        "no transaction journals, locks and backups of package managers",
        "They record when a transaction ran, so that two builds of the same packages differ.",
        "rm -f the named files at the end of the build; nothing needs them to run or to update",
        _journals,
    ),
)
