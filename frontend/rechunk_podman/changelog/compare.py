"""The changes between two sets of packages, the notable ones first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from rechunk_podman.changelog.installed import Packages, Version
from rechunk_podman.packages.ecosystems import compare

ADDED, REMOVED, UPGRADED, DOWNGRADED, CHANGED = "added", "removed", "upgraded", "downgraded", "changed"
"""The kinds of a change.

changed: the spelling of the version differs, a version is unknown, or only older installed versions differ.
"""

NOTABLE = (
    "kernel",
    "kernel-core",
    "linux-image-*",
    "linux",
    "systemd",
    "glibc",
    "libc6",
    "mesa",
    "mesa-dri-drivers",
    "libgl1-mesa-dri",
    "nvidia-driver*",
    "linux-firmware",
    "podman",
    "docker-ce",
    "bootc",
    "rpm-ostree",
    "gnome-shell",
    "plasma-desktop",
    "plasma-workspace",
    "gamescope",
    "pipewire",
    "NetworkManager",
    "network-manager",
    "openssl",
    "bash",
    "python3",
)
"""Globs of the packages that are listed first, in this order."""


class Change(NamedTuple):
    """A package that was added, removed or changed. old, new: None if it is absent."""

    name: str
    kind: str
    old: Version | None
    new: Version | None
    notable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return its part of the JSON document."""
        return {
            "name": self.name,
            "kind": self.kind,
            "old": None if self.old is None else self.old.text,
            "new": None if self.new is None else self.new.text,
            "notable": self.notable,
        }


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """The changes between two images.

    level: "binary" if both databases were read, "source" if one image has only its Ledger, None if one image
        has neither.
    unchanged: the number of packages with the same version.
    """

    level: str | None
    changes: tuple[Change, ...] = ()
    unchanged: int = 0

    def of(self, *kinds: str, notable: bool | None = None) -> list[Change]:
        """Return the changes of these kinds (of all if none is given), the notable first."""
        return [
            change
            for change in self.changes
            if (not kinds or change.kind in kinds) and (notable is None or change.notable is notable)
        ]


def package_changes(
    old: Packages | None, new: Packages | None, notable: Sequence[str] = NOTABLE
) -> PackageChanges:
    """Return the changes from one image to the other.

    Args:
        notable: globs. Packages that match come first, in the order of the globs, then all others by name.
    """
    if old is None or new is None:
        return PackageChanges(None)
    level = "binary" if old.binary and new.binary else "source"
    one, two = (old.binary, new.binary) if level == "binary" else (old.sources, new.sources)
    found = list(_changes(one, two))

    def rank(name: str) -> int:
        return next((n for n, glob in enumerate(notable) if fnmatchcase(name, glob)), len(notable))

    found = [change._replace(notable=rank(change.name) < len(notable)) for change in found]
    found.sort(key=lambda change: (rank(change.name), change.name))
    return PackageChanges(
        level, tuple(found), len(two.keys() & one.keys()) - sum(c.kind not in (ADDED, REMOVED) for c in found)
    )


def _changes(old: Mapping[str, Version], new: Mapping[str, Version]) -> Iterable[Change]:
    for name in sorted(old.keys() | new.keys()):
        one, two = old.get(name), new.get(name)
        if one is None or two is None:
            yield Change(name, ADDED if one is None else REMOVED, one, two)
        elif one.text != two.text:
            yield Change(name, _kind(one, two), one, two)


def _kind(old: Version, new: Version) -> str:
    if not (old.text and new.text) or old.source != new.source:
        return CHANGED
    return {-1: UPGRADED, 0: CHANGED, 1: DOWNGRADED}[compare(new.source, old.text, new.text)]
