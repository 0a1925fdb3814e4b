"""The list of all package ecosystems."""

from __future__ import annotations

from rechunk_podman.packages.alpm import reader as alpm
from rechunk_podman.packages.apk import reader as apk
from rechunk_podman.packages.conda import reader as conda
from rechunk_podman.packages.dpkg import reader as dpkg
from rechunk_podman.packages.go import reader as go
from rechunk_podman.packages.jvm import reader as jvm
from rechunk_podman.packages.nix import reader as nix
from rechunk_podman.packages.node import reader as node
from rechunk_podman.packages.php import reader as php
from rechunk_podman.packages.portage import reader as portage
from rechunk_podman.packages.protocol import Ecosystem
from rechunk_podman.packages.python import reader as python
from rechunk_podman.packages.rpm import reader as rpm
from rechunk_podman.packages.ruby import reader as ruby
from rechunk_podman.packages.versions import compare_rpm, newest
from rechunk_podman.packages.xbps import reader as xbps

ECOSYSTEMS: tuple[Ecosystem, ...] = (
    rpm,
    dpkg,
    apk,
    alpm,
    portage,
    xbps,
    nix,
    conda,
    python,
    node,
    ruby,
    php,
    # after all others: they read the files that nobody else has
    jvm,
    go,
)
"""All ecosystems in order: the first one that lists a path owns it."""


def compare(name: str, a: str, b: str) -> int:
    """Return -1, 0 or 1 if the newest version in `a` is older than, the same as, or newer than that in `b`.

    Args:
        name: of the ecosystem whose rules apply; rpm's rules apply for unknown ones.
        a, b: versions, as join_versions() returns them.
    """
    order = next((ecosystem.compare for ecosystem in ECOSYSTEMS if ecosystem.name == name), compare_rpm)
    return order(newest(a), newest(b))
