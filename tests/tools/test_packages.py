"""The packages of packaging/, built by the real tools, and installed into fresh root filesystems.

Each root is one that the tests build (images/): it has a Python, no compiler and no podman. Another test
installs the wheel there. In each of them the installed command builds an image and splits it; the result is
validated and compared out here.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import debian, rpm
from images.cache import unpack
from rechunk_podman import __version__
from rechunk_podman.oci.validate.image import validate
from support import packages, tools
from support.needs import require, unavailable
from support.packages import built

PAGES = {"rechunk-podman.1", "rechunk-podman-split.1"}
SPEC = "packaging/rechunk-podman.spec"
BOTH = ("packaging/install", "packaging/man", "packaging/completions")


def build_deb(sources: Path, folder: Path) -> None:
    shutil.copytree(sources / "packaging/debian", sources / "debian")
    tools.run("dpkg-buildpackage", "-b", "-us", "-uc", cwd=sources, timeout=600)
    (package,) = sources.parent.glob("*.deb")
    shutil.move(package, folder)
    shutil.rmtree(folder / "sdist")


def build_rpm(sources: Path, folder: Path) -> None:
    # The packages that it needs to be built are Debian's here: rpm knows of none.
    tools.run(
        *("rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {folder}/top"),
        *("--define", f"_sourcedir {sources.parent}", sources / SPEC),
        timeout=600,
    )
    (package,) = (folder / "top/RPMS").rglob("*.rpm")
    shutil.move(package, folder)
    shutil.rmtree(folder / "top")
    shutil.rmtree(folder / "sdist")


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory for a root filesystem."""
    folder = tmp_path_factory.mktemp("fresh")
    tools.in_memory(folder)
    yield folder / "root"
    tools.remove_storage(folder)


def unpack_root(archive: Path, root: Path) -> None:
    root.mkdir()
    unpack(archive, root)
    assert not list((root / "usr/bin").glob("*gcc*"))


def prove(root: Path, command: str, database: str, component: str) -> None:
    """The command in the root knows its version, makes an image of some of the files, and splits it."""
    assert tools.run("chroot", root, command, "--version").out == f"rechunk-podman {__version__}\n"
    (root / "srv/app").mkdir()
    script = (
        f"mount -t proc proc {root}/proc\n"
        f"mount --rbind /dev {root}/dev\n"
        f"chroot {root} cp --archive --parents /etc /usr/bin {database} /srv/app\n"
        f"chroot {root} {command} build --rootfs /srv/app --max-layers 1 --output oci:/srv/image\n"
        f"chroot {root} {command} split oci:/srv/image --workdir /srv --output oci:/srv/split\n"
    )
    tools.run("unshare", "--mount", "sh", "-euc", script)
    validate(f"oci:{root}/srv/split").check()
    tools.run(*tools.RECHUNK, "verify", f"oci:{root}/srv/image", f"oci:{root}/srv/split")
    assert component in tools.run(*tools.RECHUNK, "inspect", "--json", f"oci:{root}/srv/split").out


def test_deb(repository: Path, root: Path) -> None:
    """dpkg-buildpackage builds it, dpkg installs it with its dependencies met, and removes all of it."""
    require("dpkg-buildpackage", "dh", "mmdebstrap")
    (package,) = built(repository, "deb", build_deb, *BOTH, "packaging/debian").glob("*.deb")
    unpack_root(debian.tar("release"), root)
    shutil.copy(package, root / "srv/package.deb")
    tools.run("chroot", root, "dpkg", "--install", "/srv/package.deb")
    prove(root, "rechunk-podman", "/var/lib/dpkg", "dpkg/perl")
    listed = tools.run("chroot", root, "dpkg", "--listfiles", "rechunk-podman").out.split()
    assert {f"/usr/share/man/man1/{page}.gz" for page in PAGES} <= set(listed)
    assert "/usr/share/bash-completion/completions/rechunk-podman" in listed
    tools.run("chroot", root, "dpkg", "--purge", "rechunk-podman")
    assert not (root / "usr/bin/rechunk-podman").is_symlink()


def test_rpm(repository: Path, root: Path) -> None:
    """rpmbuild builds it; rpm installs it into an rpm-based root, with its dependencies met."""
    require("rpmbuild", "rpm", "mmdebstrap")
    (package,) = built(repository, "rpm", build_rpm, *BOTH, SPEC).glob("*.rpm")
    unpack_root(rpm.tar("base"), root)
    shutil.copy(package, root / "srv/package.rpm")
    call = ("rpm", "--root", root, "--dbpath", rpm.DBPATH)
    tools.run(*call, "--install", "--ignorearch", root / "srv/package.rpm")
    prove(root, "rechunk-podman", rpm.DBPATH, "rpm/")
    listed = tools.run(*call, "--query", "--list", "rechunk-podman").out.split()
    assert {f"/usr/share/man/man1/{page}" for page in PAGES} <= {name.removesuffix(".gz") for name in listed}
    assert "/usr/share/zsh/site-functions/_rechunk-podman" in listed


def test_wheel_where_no_compiler_is(repository: Path, root: Path) -> None:
    """pip installs from wheels alone, as from a release; `python -m` runs what it installed."""
    require("mmdebstrap")
    pip = "/usr/share/python-wheels"
    if not Path(pip).is_dir():
        unavailable("the wheel of pip is not installed (python3-pip-whl)")
    wheels = packages.wheels(repository)
    unpack_root(debian.tar("release"), root)
    shutil.copytree(wheels, root / "srv/wheels")
    (wheel,) = Path(pip).glob("pip-*.whl")
    shutil.copy(wheel, root / "srv")
    script = (
        f"PYTHONPATH=/srv/{wheel.name} python3 -m pip install --quiet --no-index --only-binary :all:"
        " --no-compile --find-links /srv/wheels --target /opt/tool rechunk-podman"
    )
    tools.run("chroot", root, "sh", "-c", script)
    launcher = root / "usr/local/bin/run"
    launcher.write_text('#!/bin/sh\nPYTHONPATH=/opt/tool exec python3 -m rechunk_podman "$@"\n')
    launcher.chmod(0o755)
    prove(root, "run", "/var/lib/dpkg", "dpkg/perl")


def test_uvx(repository: Path, tmp_path: Path) -> None:
    """`uvx --from WHEEL` runs the command in an environment that it makes."""
    uvx = Path(sys.executable).with_name("uvx")
    require(str(uvx))
    wheel = packages.wheel(repository)
    done = tools.run(
        *(uvx, "--quiet", "--no-config", "--offline", "--no-index", "--find-links", wheel.parent),
        *("--python", sys.executable, "--from", wheel, "rechunk-podman", "--version"),
        env={"UV_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.out == f"rechunk-podman {__version__}\n"


def test_versions_agree(repository: Path) -> None:
    spec = (repository / SPEC).read_text()
    assert re.search(rf"^Version: +{re.escape(__version__)}$", spec, re.MULTILINE)
    changelog = (repository / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"rechunk-podman ({__version__}) ")
