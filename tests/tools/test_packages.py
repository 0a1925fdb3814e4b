"""The packages of packaging/, built by the real tools, and installed into fresh root filesystems.

Each root is one that the tests build (images/): it has a Python, podman, buildah and skopeo, and no compiler.
Another test installs the wheel there. The installed command splits an image in the storage of the root;
the result is validated and compared out here.
"""

from __future__ import annotations

import json
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
from support.machine import Machine
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
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without a root filesystem yet, in memory: unpack_root() brings one."""
    folder = tmp_path_factory.mktemp("fresh")
    tools.in_memory(folder)
    for name in ("root", "share/containers", "share/tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "share/containers.conf").write_text(tools.CONTAINERS_CONF)
    yield Machine(folder / "root", folder / "share")
    tools.remove_storage(folder)


def unpack_root(archive: Path, root: Path) -> None:
    unpack(archive, root)
    (root / "var/lib/containers").mkdir(exist_ok=True)
    assert not list((root / "usr/bin").glob("*gcc*"))


def prove(machine: Machine, command: str, database: str, component: str) -> None:
    """The command there knows its version, and splits an image of some of the files in local storage."""
    script = (
        # This checkout is not there.
        "unset PYTHONPATH\n"
        f"{command} --version\n"
        "mkdir /mnt/app\n"
        "cd /\n"
        f"cp --archive --parents /etc /usr/bin/perl* {database} /mnt/app\n"
        f"{command} build --rootfs /mnt/app --max-layers 1 --no-ledger --output oci:/mnt/image >&2\n"
        "skopeo --insecure-policy copy --quiet oci:/mnt/image containers-storage:localhost/app:1 >&2\n"
        f"{command} split localhost/app:1 --tag localhost/app:split >&2\n"
        f"{command} verify localhost/app:1 localhost/app:split >&2\n"
        "skopeo --insecure-policy copy --quiet containers-storage:localhost/app:split oci:/mnt/split >&2\n"
    )
    assert machine.run("sh", "-euc", script).out == f"rechunk-podman {__version__}\n"
    image, split = f"oci:{machine.share}/image", f"oci:{machine.share}/split"
    validate(split).check()
    tools.run(*tools.RECHUNK, "verify", image, split)
    shown = json.loads(tools.run(*tools.RECHUNK, "inspect", "--json", split).out)
    assert len(shown["layers"]) > 1
    assert component in json.dumps(shown)


def test_deb(repository: Path, fresh: Machine) -> None:
    """dpkg-buildpackage builds it, dpkg installs it with its dependencies met, and removes all of it."""
    require("dpkg-buildpackage", "dh", "mmdebstrap")
    (package,) = built(repository, "deb", build_deb, *BOTH, "packaging/debian").glob("*.deb")
    root = fresh.root
    unpack_root(debian.tar_with_engines(), root)
    shutil.copy(package, root / "srv/package.deb")
    tools.run("chroot", root, "dpkg", "--install", "/srv/package.deb")
    prove(fresh, "rechunk-podman", "/var/lib/dpkg", "dpkg/perl")
    listed = tools.run("chroot", root, "dpkg", "--listfiles", "rechunk-podman").out.split()
    assert {f"/usr/share/man/man1/{page}.gz" for page in PAGES} <= set(listed)
    assert "/usr/share/bash-completion/completions/rechunk-podman" in listed
    tools.run("chroot", root, "dpkg", "--purge", "rechunk-podman")
    assert not (root / "usr/bin/rechunk-podman").is_symlink()
    assert not (root / "usr/lib/rechunk-podman").exists()


def test_rpm(repository: Path, fresh: Machine) -> None:
    """rpmbuild builds it; rpm installs it into an rpm-based root, with its dependencies met."""
    require("rpmbuild", "rpm", "mmdebstrap")
    (package,) = built(repository, "rpm", build_rpm, *BOTH, SPEC).glob("*.rpm")
    root = fresh.root
    unpack_root(rpm.tar_with_engines(), root)
    shutil.copy(package, root / "srv/package.rpm")
    call = ("rpm", "--root", root, "--dbpath", rpm.DBPATH)
    tools.run(*call, "--install", "--ignorearch", root / "srv/package.rpm")
    prove(fresh, "rechunk-podman", rpm.DBPATH, "rpm/")
    listed = tools.run(*call, "--query", "--list", "rechunk-podman").out.split()
    assert {f"/usr/share/man/man1/{page}" for page in PAGES} <= {name.removesuffix(".gz") for name in listed}
    assert "/usr/share/zsh/site-functions/_rechunk-podman" in listed
    tools.run(*call, "--erase", "rechunk-podman")
    assert not (root / "usr/lib/rechunk-podman").exists()


def test_wheel_where_no_compiler_is(repository: Path, fresh: Machine) -> None:
    """pip installs from wheels alone, as from a release; `python -m` runs what it installed."""
    require("mmdebstrap")
    pip = "/usr/share/python-wheels"
    if not Path(pip).is_dir():
        unavailable("the wheel of pip is not installed (python3-pip-whl)")
    wheels = packages.wheels(repository)
    root = fresh.root
    unpack_root(debian.tar_with_engines(), root)
    shutil.copytree(wheels, root / "srv/wheels")
    (wheel,) = Path(pip).glob("pip-*.whl")
    shutil.copy(wheel, root / "srv")
    script = (
        f"PYTHONPATH=/srv/{wheel.name} python3 -m pip install --quiet --no-index --only-binary :all:"
        " --no-compile --find-links /srv/wheels --target /opt/tool rechunk-podman"
    )
    tools.run("chroot", root, "sh", "-c", script)
    launcher = root / "usr/bin/run"
    launcher.write_text('#!/bin/sh\nPYTHONPATH=/opt/tool exec python3 -m rechunk_podman "$@"\n')
    launcher.chmod(0o755)
    prove(fresh, "run", "/var/lib/dpkg", "dpkg/perl")


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


def test_pipx(repository: Path, tmp_path: Path) -> None:
    """`pipx install WHEEL` puts the command into its folder of programs (by uv, which fetches no pip)."""
    programs = Path(sys.executable).parent
    require(str(programs / "pipx"), str(programs / "uv"))
    wheel = packages.wheel(repository)
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheel.parent),
    }
    pipx = (programs / "pipx", "install", "--backend", "uv", "--python", sys.executable)
    tools.run(*pipx, wheel, env=env)
    done = tools.run(tmp_path / ".local/bin/rechunk-podman", "--version")
    assert done.out == f"rechunk-podman {__version__}\n"


def test_versions_agree(repository: Path) -> None:
    spec = (repository / SPEC).read_text()
    assert re.search(rf"^Version: +{re.escape(__version__)}$", spec, re.MULTILINE)
    changelog = (repository / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"rechunk-podman ({__version__}) ")
