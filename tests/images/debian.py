"""A real Debian root filesystem from Debian's packages, at two moments of the same release."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from images.cache import cached, call, need, pack, unpack

VERSION = "2"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"

#: On top of Debian's minbase. ping has a file capability, passwd and util-linux setuid and setgid programs,
#: perl a hard link, e2fsprogs and openssl several binary packages of a source, python3 many a .pyc.
PACKAGES = ("ca-certificates", "e2fsprogs", "iputils-ping", "libcap2-bin", "perl", "python3")

#: By which `split` reads and makes an image in local storage.
ENGINES = ("buildah", "crun", "podman", "skopeo")

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


def tar_with_engines() -> Path:
    """The root filesystem as released, with ENGINES, as a tar file.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """

    def build(folder: Path) -> None:
        need("mmdebstrap")
        bootstrap(folder / "root.tar", SUITE, (*PACKAGES, *ENGINES), [f"deb {MIRROR} {SUITE} main"])

    return cached("debian-engines", VERSION, build) / "root.tar"


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


#: The root filesystems of series(): as released, and after each of four parts of the updates.
RELEASES = 5


def series() -> list[Path]:
    """Root filesystems as tar files: as released, then with the updates, a quarter of them at each step.

    Raises:
        MissingTool: mmdebstrap or chroot is not installed.
    """
    first = tar("release")

    def build(folder: Path) -> None:
        root = folder / "root"
        unpack(first, root)
        try:
            for step in upgrades(root, RELEASES - 1):
                pack(root, folder / f"{step}.tar")
        finally:
            shutil.rmtree(root)

    folder = cached("debian-series", VERSION, build)
    return [first, *(folder / f"{step}.tar" for step in range(1, RELEASES))]


def upgrades(root: Path, steps: int, *, backports: bool = False) -> Iterator[int]:
    """Install the security and stable updates into a root filesystem, in `steps` parts; yield after each.

    Yields the number of the part, from 1.

    Args:
        backports: install newer versions from the suite for backports, too.

    Raises:
        MissingTool: chroot is not installed.
    """
    need("chroot")
    sources = root / "etc/apt/sources.list"
    resolver = root / "etc/resolv.conf"
    before = {path: path.read_bytes() if path.exists() else None for path in (sources, resolver)}
    target = ("--target-release", f"{SUITE}-backports") if backports else ()
    for step in range(1, steps + 1):
        sources.write_text(
            f"deb {MIRROR} {SUITE} main\ndeb {MIRROR} {SUITE}-updates main\n"
            f"deb {SECURITY_MIRROR} {SUITE}-security main\n"
            + (f"deb {MIRROR} {SUITE}-backports main\n" if backports else "")
        )
        shutil.copyfile("/etc/resolv.conf", resolver)
        _apt(root, "update")
        simulate = ("apt-get", "--simulate", "--quiet", "dist-upgrade", *target)
        listed = call("chroot", root, *simulate).splitlines()
        waiting = sorted(line.split()[1] for line in listed if line.startswith("Inst "))
        _apt(root, "install", "--only-upgrade", *target, *waiting[: -(-len(waiting) // (steps + 1 - step))])
        _apt(root, "clean")
        shutil.rmtree(root / "var/lib/apt/lists")
        for path, content in before.items():
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        yield step


def _apt(root: Path, *arguments: str) -> None:
    # the TMPDIR of this machine may not be in the root filesystem
    env = {"DEBIAN_FRONTEND": "noninteractive", "TMPDIR": "/tmp"}
    call("chroot", root, "apt-get", "--quiet", "--yes", "-o", "APT::Sandbox::User=root", *arguments, env=env)
