"""Root filesystems of newer Debians, with newer buildah, podman and skopeo, to run programs in.

And single programs of the next release that run on this machine: clients of registries, and a registry.
"""

from __future__ import annotations

import shutil
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

#: Its source needs nothing but Go's own library, so what it depends on as a package is left out.
REGISTRY = "golang-github-google-go-containerregistry-dev"


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


def programs() -> Path:
    """Return the folder of the programs crane, oras and registry (registry.go, with the referrers API).

    Raises:
        MissingTool: mmdebstrap is not installed.
    """

    def build(folder: Path) -> None:
        need("mmdebstrap")
        root = folder / "root"
        options = ("--variant=extract", '--aptopt=Acquire::Check-Valid-Until "false"')
        download = 'cd "$1" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download'
        hook = f"--extract-hook={download} {REGISTRY} && dpkg-deb --extract {REGISTRY}_*.deb ."
        packages = "--include=crane,golang-go,oras"
        call("mmdebstrap", *options, hook, packages, SUITE, root, f"deb {MIRROR} {SUITE} main")
        for name in ("crane", "oras"):
            shutil.copy(root / "usr/bin" / name, folder)
        go = root / "usr/lib/go"
        env = {"GOROOT": go, "GOPATH": root / "usr/share/gocode", "GOCACHE": folder / "go-cache"}
        settings = {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
        source = Path(__file__).with_name("registry.go")
        call(
            *(go / "bin/go", "build", "-o", folder / "registry", source),
            env={**{key: str(value) for key, value in env.items()}, **settings},
        )
        shutil.rmtree(folder / "go-cache")
        shutil.rmtree(root)

    return cached("forky-programs", "1", build)
