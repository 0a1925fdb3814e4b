"""Files that builds leave behind, by path: caches, logs, journals, files of a running system or one machine.

Sources: file-hierarchy(7); machine-id(5); the caches and logs of dnf, apt, pacman, zypper, apk, npm and
Next.js; ldconfig(8) (its auxiliary cache records inode numbers and times).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from rechunk_podman.model import Kind, Tree
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import matching
from rechunk_podman.patterns import compile_later

_ECOSYSTEMS = [ecosystem.locations for ecosystem in ECOSYSTEMS]
CACHES = matching(
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
LOGS = compile_later(
    r"(?:(?:home/[^/]+|var/home/[^/]+|var/roothome|root)/\.npm/_logs/.+|var/log/.+|var/lib/systemd/coredump/.+|var/crash/.+|root/[^/]*install\.log)\Z"
)
JOURNALS = matching(
    (
        *(glob for locations in _ECOSYSTEMS for glob in locations.journals),
        "var/lib/alternatives/**.old",
        *(f"etc/{file}-" for file in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
        "etc/.pwd.lock",
    )
)
_RUNTIME = ("run", "tmp", "var/tmp", "var/run", "var/lock")
_OF_BUILDERS = compile_later(r"run/(?:\.containerenv|secrets(?:/.*)?|lock|\.dockerenv)\Z")

MACHINE_IDS = ("etc/machine-id", "usr/etc/machine-id", "var/lib/dbus/machine-id")
UNSET_IDS = ("", "uninitialized")
"""machine-id(5): the values for an image that is installed more than once."""
_SECRETS_OF_MACHINES = ("var/lib/systemd/random-seed", "var/lib/systemd/credential.secret")

Read = Callable[[str], str | None]
"""A function that returns the content of a regular file of the tree; None if it is not to be had."""


def runtime(tree: Tree, read: Read) -> list[str]:
    """Return the files below the directories of a running system, but for those of the builder."""
    return [
        tree.paths[position]
        for top in _RUNTIME
        for position in tree.below(top)
        if tree.entry(position).kind is not Kind.DIRECTORY and not _OF_BUILDERS.match(tree.paths[position])
    ]


def caches(tree: Tree, read: Read) -> list[str]:
    """Return the files in caches of package managers and language tools."""
    return _files(tree, CACHES)


def logs(tree: Tree, read: Read) -> list[str]:
    """Return the logs that are not empty."""
    return [path for path in _files(tree, LOGS) if tree[path].size]


def journals(tree: Tree, read: Read) -> list[str]:
    """Return the journals, locks and backups of package managers that are not empty."""
    return [path for path in _files(tree, JOURNALS) if tree[path].size]


def machine_ids(tree: Tree, read: Read) -> list[str]:
    """Return the files that identify one machine; an id that is unset is none."""
    found = []
    for path in (*MACHINE_IDS, *_SECRETS_OF_MACHINES):
        entry = tree.get(path)
        if entry is not None and entry.kind is Kind.FILE and entry.size:
            text = read(path) if path in MACHINE_IDS else None
            if text is None or text.strip() not in UNSET_IDS:
                found.append(path)
    return found


def _files(tree: Tree, pattern: re.Pattern[str]) -> list[str]:
    positions = np.flatnonzero(tree.column("kind") == Kind.FILE)
    paths = tree.paths
    return [path for position in positions.tolist() if pattern.match(path := paths[position])]


LEFTOVERS: Mapping[str, Callable[[Tree, Read], list[str]]] = MappingProxyType(
    {
        "caches": caches,
        "logs": logs,
        "run-and-tmp": runtime,
        "package-journals": journals,
        "machine-id": machine_ids,
    }
)
"""Name of a check of lint -> the function that returns the paths that it reports."""
