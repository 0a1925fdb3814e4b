"""Execute the steps of release.yml that make, join and sign images.

Stand-ins: the runner (support.workflow), cosign, what `uses:` steps do, the chunker image (its Containerfile
has tests of its own) and the machine of the second architecture. All else is real, the registry and its
password, too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman import __version__
from support import packages
from support.ground import ONE_CGROUP, Ground, new_ground
from support.machines import Machine
from support.pushing import small_tar


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folders = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("release-storage")
    with new_ground(*folders) as found:
        yield found


def test_images(ground: Ground, tmp_path: Path, repository: Path) -> None:
    """Two images under one digest, each with its SBOM, signed; the file of the release names the digest."""
    environment = {**ground.machine, **packages.offline(repository)}
    machine = Machine(tmp_path / "machines", repository, environment, ONE_CGROUP)
    image = f"{ground.registry.address}/acme/rechunk-podman"
    override = {"IMAGE": image, "REGISTRY": ground.registry.address, "CONTAINERFILE": "stand-in"}
    machine.run("release.yml", "check", override)
    shutil.copytree(packages.wheels(repository), machine.artifacts / "dist-amd64")
    for seed, arch in enumerate(("amd64", "arm64")):
        base = f"localhost/chunker:{arch}"
        archive = small_tar(tmp_path / f"{arch}.tar", seed)
        ground.storage.run("podman", "import", "--quiet", f"--arch={arch}", archive, base)
        (machine.clone / "stand-in").write_text(f"FROM {base}\n")
        machine.run("release.yml", "image", override, arch=arch)

    machine.run("release.yml", "sign", override)
    digest = "sha256:" + hashlib.sha256(ground.raw(f"acme/rechunk-podman:{__version__}")).hexdigest()
    assert ground.raw("acme/rechunk-podman:latest") == ground.raw(f"acme/rechunk-podman@{digest}")
    listed = ground.json(f"acme/rechunk-podman@{digest}")["manifests"]
    assert sorted(one["platform"]["architecture"] for one in listed) == ["amd64", "arm64"]
    signed = (machine.bin / "signed").read_text().splitlines()
    named = [f"{image}@{one}" for one in (digest, *(one["digest"] for one in listed))]
    assert sorted(line.split()[-1] for line in signed if line.startswith("sign ")) == sorted(named)
    assert sorted(line.split()[-1] for line in signed if line.startswith("attest ")) == sorted(named[1:])
    pinned = (machine.artifacts / "pinned/Containerfile.splitter").read_text()
    assert f"ARG CHUNKER={image}@{digest}\n" in pinned
    assert pinned.count("\n") == (repository / "Containerfile.splitter").read_text().count("\n")
