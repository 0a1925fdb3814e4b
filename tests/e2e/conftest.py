"""Fixtures of the tests with real tools. The images are built once a machine and imported once a session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from images import debian, oddities, rpm
from images.cache import MissingTool
from support import tools
from support.needs import require, unavailable
from support.pushing import Client, small_tar

#: What `-k` chooses from, and the tests with `image` run on.
IMAGES = ("debian", "rpm", "oddities")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is e2e."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Storage]:
    """A private containers-storage (root, overlay) for the session."""
    require("podman", "buildah", "skopeo", "crun", "unshare")
    if os.geteuid() != 0:
        unavailable("needs root: overlay storage, device nodes and owners")
    with tools.private_storage(tmp_path_factory.mktemp("storage")) as found:
        yield found


def built(name: str) -> Path:
    """The tar of a test image, from the cache or built now."""
    try:
        match name:
            case "debian":
                return debian.tar("release")
            case "debian-updated":
                return debian.tar("updated")
            case "rpm":
                return rpm.tar("base")
            case "rpm-update":
                return rpm.tar("update")
            case "oddities":
                return oddities.tar()
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    raise ValueError(name)


@pytest.fixture(scope="session")
def debian_image(storage: tools.Storage) -> str:
    """Debian as released, imported: its name."""
    return storage.import_tar(built("debian"), "localhost/debian:release")


@pytest.fixture(scope="session")
def debian_updated_image(storage: tools.Storage) -> str:
    """Debian with its updates, imported: its name."""
    return storage.import_tar(built("debian-updated"), "localhost/debian:updated")


@pytest.fixture(scope="session")
def rpm_image(storage: tools.Storage) -> str:
    """The rpm-based image, imported: its name."""
    return storage.import_tar(built("rpm"), "localhost/rpm:base")


@pytest.fixture(scope="session")
def rpm_updated_image(storage: tools.Storage) -> str:
    """The rpm-based image after the update of one source package, imported: its name."""
    return storage.import_tar(built("rpm-update"), "localhost/rpm:update")


@pytest.fixture(scope="session")
def oddities_image(storage: tools.Storage) -> str:
    """Everything rare, imported: its name."""
    return storage.import_tar(built("oddities"), "localhost/oddities:latest")


@pytest.fixture(scope="session")
def small(storage: tools.Storage, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Names of small images, one for each seed; they differ in one file."""
    folder = tmp_path_factory.mktemp("small")
    known: dict[int, str] = {}

    def image(seed: int) -> str:
        if seed not in known:
            name = f"localhost/small:seed{seed}"
            known[seed] = storage.import_tar(small_tar(folder / f"{seed}.tar", seed), name)
        return known[seed]

    return image


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """Each of the test images in turn: its name in `storage`."""
    found = request.getfixturevalue(f"{request.param}_image")
    assert isinstance(found, str)
    return found


@pytest.fixture(scope="session")
def ordinary_user(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[tools.OrdinaryUser]:
    """A user without privileges, with a vfs storage of their own."""
    require("buildah", "newuidmap", "newgidmap", "runuser", "useradd", "usermod")
    if os.geteuid() != 0:
        unavailable("needs root, to create an ordinary user")
    base = Path("/var/tmp") / f"rechunk-test-{os.getpid()}"
    base.mkdir(mode=0o755)
    tools.in_memory(base)
    try:
        with tools.ordinary_user(f"rechunk{os.getpid()}", base, repository) as user:
            yield user
    finally:
        tools.remove_storage(base)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry on loopback, empty at first, for the session; skopeo needs --src/dest-tls-verify=false."""
    require("docker-registry")
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def client(tmp_path: Path, registry: tools.Registry) -> Iterator[Client]:
    """A client of the registry, with an empty storage."""
    with tools.private_storage(tmp_path / "client") as storage:
        yield Client(storage, registry)


@dataclass(frozen=True)
class Chunked:
    """A test image, and what `rechunk-podman build` made of its mounted root filesystem."""

    kind: str
    source: str
    tar: Path
    config: Path
    archive: Path
    result: str


@pytest.fixture(scope="session", params=IMAGES)
def chunked(
    request: pytest.FixtureRequest, storage: tools.Storage, tmp_path_factory: pytest.TempPathFactory
) -> Chunked:
    """Each test image built once into an OCI archive (64 layers), which is imported as `result`."""
    source = request.getfixturevalue(f"{request.param}_image")
    folder = tmp_path_factory.mktemp(f"chunked-{request.param}")
    config, archive = folder / "config.json", folder / "image.oci-archive"
    config.write_text(storage.run("podman", "image", "inspect", source).out)
    with storage.mounted(source) as root:
        storage.rechunk("build", "--rootfs", root, "--config", config, "--output", f"oci-archive:{archive}")
    result = f"localhost/chunked-{request.param}:latest"
    storage.copy(f"oci-archive:{archive}", f"containers-storage:{result}")
    return Chunked(request.param, source, built(request.param), config, archive, result)
