"""A machine of a newer distribution, as far as a chroot is one: Debian forky, buildah of at least 1.43."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from images import debian, forky, oddities
from images import storage as images_storage
from images.cache import MissingTool
from support import tools
from support.needs import require, unavailable

#: Everything that is mounted lies in a namespace of its own and vanishes with the command.
ENTER = """
set -eu
root=$1 share=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$share" "$root/mnt"
mount --bind "$share/containers" "$root/var/lib/containers"
mount --bind "$share/tmp" "$root/var/tmp"
mount --bind "$share/tmp" "$root/tmp"
exec chroot "$root" "$@"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is compat."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.compat)


@dataclass(frozen=True)
class Machine:
    """The newer machine. `share`, a folder of this one, is /mnt there; its storage lasts for the session."""

    root: Path
    share: Path

    def run(self, *command: str, check: bool = True, cwd: str = "/mnt") -> tools.Done:
        """Runs a command there, as root."""
        inside = (
            *("env", "-i", f"--chdir={cwd}", "HOME=/root", "LC_ALL=C.UTF-8", "BUILDAH_ISOLATION=chroot"),
            *("PATH=/usr/sbin:/usr/bin", "PYTHONPATH=/mnt/packages", "PYTHONDONTWRITEBYTECODE=1"),
            *("CONTAINERS_CONF=/mnt/containers.conf", *command),
        )
        return tools.run(
            "unshare", "--mount", "sh", "-c", ENTER, "sh", self.root, self.share, *inside, check=check
        )

    def rechunk(self, *arguments: str, check: bool = True) -> tools.Done:
        """Runs rechunk-podman there, with that machine's Python and libraries."""
        return self.run("python3", "-m", "rechunk_podman", *arguments, check=check)

    def import_layout(self, layout: Path, name: str) -> str:
        """Copies an image from a layout below `share` into the storage there."""
        source = f"oci:/mnt/{layout.relative_to(self.share)}"
        self.run("skopeo", "--insecure-policy", "copy", "--quiet", source, f"containers-storage:{name}")
        return name


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Machine]:
    """Debian forky, with this checkout's package in its /mnt/packages."""
    require("unshare", "chroot", "skopeo")
    if os.geteuid() != 0:
        unavailable("needs root, for chroot")
    try:
        root = forky.directory()
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    share = tmp_path_factory.mktemp("machine")
    tools.in_memory(share)
    try:
        for folder in ("containers", "tmp", "packages"):
            (share / folder).mkdir()
        (share / "tmp").chmod(0o1777)
        (share / "containers.conf").write_text(tools.CONTAINERS_CONF)
        packages = share / "packages"
        shutil.copytree(repository / "frontend/rechunk_podman", packages / "rechunk_podman")
        shutil.copytree(repository / "templates", packages / "rechunk_podman/templates")
        for helper in ("images", "support"):
            shutil.copytree(repository / "tests" / helper, packages / helper)
        yield Machine(root, share)
    finally:
        tools.remove_storage(share)


@pytest.fixture(scope="session")
def chunker_image(machine: Machine, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The chunker image, built by this machine's buildah, in the storage of the newer one."""
    require("podman", "buildah")
    from support import chunker

    with tools.private_storage(tmp_path_factory.mktemp("chunker-storage")) as storage:
        archive = chunker.archive(repository, storage)
    images_storage.skopeo_copy(f"oci-archive:{archive}", f"oci:{machine.share}/chunker")
    return machine.import_layout(machine.share / "chunker", chunker.NAME)


@pytest.fixture(scope="session", params=["debian", "oddities"])
def image(request: pytest.FixtureRequest, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A test image in the storage there: its name. It names no volume (absent_volume does)."""
    archive = debian.tar("release") if request.param == "debian" else oddities.tar()
    config = {key: value for key, value in images_storage.DEFAULT_CONFIG.items() if key != "Volumes"}
    layout = images_storage.oci_layout([archive], tmp_path_factory.mktemp("layout") / "layout", config=config)
    images_storage.skopeo_copy(f"oci:{layout}", f"oci:{machine.share}/{request.param}")
    return machine.import_layout(machine.share / request.param, f"localhost/{request.param}:latest")


@pytest.fixture(scope="session")
def absent_volume(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image in the storage there whose config names a volume of which the image has no directory."""
    layout = images_storage.oci_layout([oddities.tar()], tmp_path_factory.mktemp("layout") / "layout")
    images_storage.skopeo_copy(f"oci:{layout}", f"oci:{machine.share}/volume")
    return machine.import_layout(machine.share / "volume", "localhost/volume:latest")
