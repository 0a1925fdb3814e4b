"""Root filesystems of newer Debians, with newer buildah, podman and skopeo, to run programs in."""

from __future__ import annotations

from pathlib import Path

from images.cache import cached, call, need
from images.debian import MIRROR

VERSION = "2"
SUITE = "forky"

PACKAGES = (
    "buildah",
    "ca-certificates",
    "crun",
    "podman",
    "python3",
    "python3-jinja2",
    "python3-numpy",
    "python3-podman",
    "python3-pyxattr",
    "python3-rich",
    "python3-typer",
    "python3-zstandard",
    "rpm",
    "skopeo",
    "tar",
)

#: Of these the newest that Debian has: buildah of at least 1.45, podman of at least 6.1 (400 layers).
EXPERIMENTAL = ("buildah", "podman")


def directory() -> Path:
    """The root directory of the next release, which must not be written to: mount over it what changes.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """
    return _directory("forky", PACKAGES, SUITE, f"deb {MIRROR} {SUITE} main")


def newest() -> Path:
    """The same of the unstable distribution, with EXPERIMENTAL from the experimental one.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """
    packages = (*(name for name in PACKAGES if name not in EXPERIMENTAL),)
    packages += tuple(f"{name}/experimental" for name in EXPERIMENTAL)
    sources = (f"deb {MIRROR} sid main", f"deb {MIRROR} experimental main")
    return _directory("experimental", packages, "sid", *sources)


def _directory(name: str, packages: tuple[str, ...], suite: str, *sources: str) -> Path:
    def build(folder: Path) -> None:
        need("mmdebstrap")
        call(
            "mmdebstrap",
            "--variant=minbase",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            "--include=" + ",".join(packages),
            "--format=directory",
            suite,
            folder / "root",
            *sources,
        )
        (folder / "root/var/lib/containers").mkdir(parents=True, exist_ok=True)

    return cached(name, VERSION, build) / "root"
