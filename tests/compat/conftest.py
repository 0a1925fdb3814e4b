"""A machine of a newer distribution, as far as a chroot is one: Debian forky, buildah of at least 1.43."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import debian, oddities
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


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Machine]:
    """Debian forky, with this checkout's package in its /mnt/packages."""
    require("unshare", "chroot", "skopeo")
    if os.geteuid() != 0:
        unavailable("needs root, for chroot")
    try:
        with newer(tmp_path_factory.mktemp("machine"), repository) as found:
            yield found
    except MissingTool as error:
        unavailable(f"{error} is not installed")


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
