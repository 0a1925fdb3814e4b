"""A root filesystem of Debian's next release, with newer buildah, podman and skopeo, to run programs in."""

from __future__ import annotations

from pathlib import Path

from images.cache import cached, call, need
from images.debian import MIRROR

VERSION = "1"
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
    "skopeo",
    "tar",
)


def directory() -> Path:
    """The root directory, which must not be written to: mount over it what changes.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """

    def build(folder: Path) -> None:
        need("mmdebstrap")
        call(
            "mmdebstrap",
            "--variant=minbase",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            "--include=" + ",".join(PACKAGES),
            "--format=directory",
            SUITE,
            folder / "root",
            f"deb {MIRROR} {SUITE} main",
        )
        (folder / "root/var/lib/containers").mkdir(parents=True, exist_ok=True)

    return cached("forky", VERSION, build) / "root"
