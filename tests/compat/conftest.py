"""Machines of newer distributions, as far as a chroot is one: with buildah of at least 1.43, and of 1.45."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from images import debian, forky, oddities
from images import storage as images_storage
from images.cache import MissingTool
from support import tools
from support.machine import Machine, newer
from support.needs import require, unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is compat."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.compat)


def made(find: Callable[[], Path], share: Path, repository: Path) -> AbstractContextManager[Machine]:
    """A machine of the root filesystem that `find` builds."""
    require("unshare", "chroot", "skopeo")
    if os.geteuid() != 0:
        unavailable("needs root, for chroot")
    try:
        return newer(find(), share, repository)
    except MissingTool as error:
        unavailable(f"{error} is not installed")


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Machine]:
    """Debian's next release, with this checkout's package in its /mnt/packages."""
    with made(forky.directory, tmp_path_factory.mktemp("machine"), repository) as found:
        yield found


@pytest.fixture(scope="session")
def newest_machine(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Machine]:
    """The same with the newest buildah and podman that Debian has."""
    with made(forky.newest, tmp_path_factory.mktemp("newest"), repository) as found:
        yield found


def import_chunker(machine: Machine, repository: Path, folder: Path) -> str:
    """The chunker image, built by this machine's buildah, into the storage of the newer one: its name."""
    require("podman", "buildah")
    from support import chunker

    with tools.private_storage(folder) as storage:
        archive = chunker.archive(repository, storage)
    images_storage.skopeo_copy(f"oci-archive:{archive}", f"oci:{machine.share}/chunker")
    return machine.import_layout(machine.share / "chunker", chunker.NAME)


@pytest.fixture(scope="session")
def chunker_image(machine: Machine, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The chunker image in the storage there."""
    return import_chunker(machine, repository, tmp_path_factory.mktemp("chunker-storage"))


def import_image(machine: Machine, kind: str, folder: Path) -> str:
    """A test image into the storage there: its name. It names no volume (absent_volume does)."""
    archive = debian.tar("release") if kind == "debian" else oddities.tar()
    config = {key: value for key, value in images_storage.DEFAULT_CONFIG.items() if key != "Volumes"}
    layout = images_storage.oci_layout([archive], folder / "layout", config=config)
    images_storage.skopeo_copy(f"oci:{layout}", f"oci:{machine.share}/{kind}")
    return machine.import_layout(machine.share / kind, f"localhost/{kind}:latest")


@pytest.fixture(scope="session")
def newest_images(
    newest_machine: Machine, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """(a test image, the chunker image) in the storage of the newest machine."""
    chunker_name = import_chunker(newest_machine, repository, tmp_path_factory.mktemp("chunker-storage"))
    return import_image(newest_machine, "debian", tmp_path_factory.mktemp("layout")), chunker_name


@pytest.fixture(scope="session", params=["debian", "oddities"])
def image(request: pytest.FixtureRequest, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each test image in the storage there."""
    assert isinstance(request.param, str)
    return import_image(machine, request.param, tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="session")
def absent_volume(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image in the storage there whose config names a volume of which the image has no directory."""
    layout = images_storage.oci_layout([oddities.tar()], tmp_path_factory.mktemp("layout") / "layout")
    images_storage.skopeo_copy(f"oci:{layout}", f"oci:{machine.share}/volume")
    return machine.import_layout(machine.share / "volume", "localhost/volume:latest")
