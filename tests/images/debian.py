"""A real Debian root filesystem from Debian's packages, at two moments of the same release."""

from __future__ import annotations

from pathlib import Path

from images.cache import cached, call, need

VERSION = "2"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"

#: On top of Debian's minbase. ping has a file capability, passwd and util-linux setuid and setgid programs,
#: perl a hard link, e2fsprogs and openssl several binary packages of a source, python3 many a .pyc.
PACKAGES = ("ca-certificates", "e2fsprogs", "iputils-ping", "libcap2-bin", "perl", "python3")

#: `release`: as published with the latest point release; `updated`: with all security and stable updates.
MOMENTS = ("release", "updated")


def tar(moment: str) -> Path:
    """The root filesystem as a tar file, ready to import.

    Args:
        moment: one of MOMENTS.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """
    if moment not in MOMENTS:
        raise ValueError(f"not a moment: {moment}")

    def build(folder: Path) -> None:
        need("mmdebstrap")
        sources = [f"deb {MIRROR} {SUITE} main"]
        if moment == "updated":
            sources.append(f"deb {MIRROR} {SUITE}-updates main")
            sources.append(f"deb {SECURITY_MIRROR} {SUITE}-security main")
        bootstrap(folder / "root.tar", SUITE, PACKAGES, sources)

    return cached(f"debian-{moment}", VERSION, build) / "root.tar"


def bootstrap(target: Path, suite: str, packages: tuple[str, ...], sources: list[str]) -> None:
    """Runs mmdebstrap (minbase) into a tar file or a directory, whichever `target`'s suffix says."""
    call(
        "mmdebstrap",
        "--variant=minbase",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Retries "3"',
        "--include=" + ",".join(packages),
        f"--format={'tar' if target.suffix == '.tar' else 'directory'}",
        suite,
        target,
        *sources,
    )
