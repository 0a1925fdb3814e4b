"""Docker's and OCI's format: a split image keeps the format of its source, and with it its health check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rechunk_podman.oci.validate.image import validate
from support import chunker, tools
from support.pushing import document, push

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
SOURCE = "localhost/with-health:docker"
FILE = """FROM {base}
SHELL ["/bin/ash", "-c"]
HEALTHCHECK --interval=30s CMD true
"""


@pytest.fixture(scope="module")
def source(
    storage: tools.Storage, small: Callable[[int], str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An image of docker's format with a health check and a shell."""
    folder = tmp_path_factory.mktemp("health")
    (folder / "Containerfile").write_text(FILE.format(base=small(1)))
    storage.run("buildah", "build", "--format=docker", f"--tag={SOURCE}", folder)
    assert kept(storage, SOURCE) == (DOCKER, True)
    return SOURCE


def kept(storage: tools.Storage, name: str) -> tuple[str, bool]:
    """The format of an image in storage, and whether a container of it has a health check."""
    container = storage.run("podman", "create", "--network=none", name, "true").out.strip()
    try:
        facts = storage.run("podman", "container", "inspect", container).out
    finally:
        storage.run("podman", "rm", container)
    (found,) = json.loads(facts)
    return str(storage.inspect(name)["ManifestType"]), bool(found["Config"].get("Healthcheck"))


def layers_of(storage: tools.Storage, name: str) -> list[str]:
    return [
        layer["diff_id"] for layer in json.loads(storage.rechunk("inspect", name, "--json").out)["layers"]
    ]


@pytest.mark.parametrize("engine", ["native", "buildah"])
def test_storage_keeps_the_format(storage: tools.Storage, source: str, repository: Path, engine: str) -> None:
    """The layers are the same in both formats, and the next split reads the Ledger."""
    options = ["--engine", engine]
    if engine == "buildah":
        options += ["--chunker", chunker.provide(repository, storage)]
    results = []
    for number, wanted in enumerate(([], ["--format", "oci"], [])):
        name = f"localhost/format-{engine}:{number % 2}"
        done = storage.rechunk("split", source, "-t", name, *options, *wanted)
        assert kept(storage, name) == ((OCI, False) if wanted else (DOCKER, True))
        assert ("podman ignores Healthcheck, Shell" in done.err) is bool(wanted)
        results.append(layers_of(storage, name))
    assert results[0] == results[1] == results[2]


def test_a_push_keeps_the_format(
    storage: tools.Storage, registry: tools.Registry, source: str, small: Callable[[int], str]
) -> None:
    repository = f"{registry.address}/format/docker"
    done = push(storage, source, f"--push=docker://{repository}:1")
    assert "gzip compresses the layers" in done.err
    manifest = json.loads(document(f"{repository}:1"))
    types = {manifest["mediaType"], *(layer["mediaType"] for layer in manifest["layers"])}
    assert types == {DOCKER, "application/vnd.docker.image.rootfs.diff.tar.gzip"}
    storage.run("podman", "pull", "--quiet", "--tls-verify=false", f"{repository}:1")
    assert kept(storage, f"{repository}:1") == (DOCKER, True)
    again = push(storage, source, f"--push=docker://{repository}:1", "--json")
    assert all(layer["reused"] for layer in json.loads(again.out)["layers"])
    push(storage, source, f"--push=docker://{repository}:2", "--format=oci")
    assert json.loads(document(f"{repository}:2"))["mediaType"] == OCI
    assert json.loads(document(f"{repository}:2"))["layers"][0]["mediaType"].endswith("+zstd")


def test_files_hold_one_format(storage: tools.Storage, source: str, tmp_path: Path) -> None:
    layout, archive = tmp_path / "layout", tmp_path / "archive.tar"
    done = storage.rechunk("split", source, "-o", f"oci:{layout}")
    assert "podman ignores Healthcheck, Shell" in done.err
    assert json.loads((layout / "index.json").read_text())["manifests"][0]["mediaType"] == OCI
    validate(f"oci:{layout}").check()
    done = storage.rechunk("split", source, "-o", f"docker-archive:{archive}:localhost/format-archive:1")
    assert "ignores" not in done.err
    storage.run("podman", "load", "--quiet", "--input", archive)
    assert kept(storage, "localhost/format-archive:1") == (DOCKER, True)
    done = storage.rechunk("split", source, "-o", f"oci-archive:{tmp_path}/docker", "--format=docker")
    assert "ignores" not in done.err
    validate(f"oci-archive:{tmp_path}/docker").check()
    storage.copy(f"oci-archive:{tmp_path}/docker", "containers-storage:localhost/format-archive:2")
    assert kept(storage, "localhost/format-archive:2") == (DOCKER, True)
    for output, wanted in ((f"oci:{layout}2:name", "docker"), (f"docker-archive:{archive}2", "oci")):
        done = storage.rechunk("split", source, "-o", output, "--format", wanted, check=False)
        assert done.code == 2
        assert "docker's format" in done.err


def test_build_says_what_an_oci_image_loses(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"config": {"Healthcheck": {"Test": ["CMD", "true"]}, "OnBuild": ["RUN x"]}})
    )
    command = (*tools.RECHUNK, "build", "--rootfs", tmp_path / "root", "--config", config, "--output")
    assert "podman ignores Healthcheck, OnBuild" in tools.run(*command, f"oci:{tmp_path}/a").err
    assert "ignores" not in tools.run(*command, f"oci:{tmp_path}/b", "--format=oci").err
    assert "ignores" not in tools.run(*command, f"docker-archive:{tmp_path}/c").err
    assert "ignores" not in tools.run(*command, f"oci:{tmp_path}/e", "--format=docker").err
    for wrong in (
        ("--format=docker", "--tag=name"),
        ("--format=v2s2",),
        ("--format=docker", "--compression=zstd"),
    ):
        assert tools.run(*command, f"oci:{tmp_path}/d", *wrong, check=False).code == 2
