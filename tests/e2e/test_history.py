"""The history of a real Debian image in a registry, and what its replay says beside real splits and pulls."""

from __future__ import annotations

import json
import lzma
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from images import debian
from images.cache import MissingTool
from images.storage import oci_layout
from support import pushing, tools
from support.needs import require, unavailable
from support.pushing import Client, fetched
from support.tools import Registry, Storage

DATES = [f"2025-0{month}-15" for month in range(1, debian.RELEASES + 1)]


@pytest.fixture(scope="module")
def tars() -> list[Path]:
    """Root filesystems of Debian, each with more security updates than the one before it."""
    try:
        return debian.series()
    except MissingTool as error:
        unavailable(f"{error} is not installed")


@pytest.fixture(scope="module")
def repository(
    tars: list[Path], storage: Storage, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A repository of the series: a tag for each date, one that names an image again, and two others."""
    require("skopeo")
    folder = tmp_path_factory.mktemp("series")
    name = f"{registry.address}/history/debian"
    for tar, date in zip(tars, DATES, strict=True):
        layout = oci_layout([tar], folder / date, created=f"{date}T06:00:00Z")
        copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}")
        storage.run(*copy, "--dest-compress-level=1", f"docker://{name}:{date.replace('-', '')}")
    newest = f"docker://{name}:{DATES[-1].replace('-', '')}"
    for tag in ("latest", "20250515.1"):
        storage.run(
            "skopeo",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            newest,
            f"docker://{name}:{tag}",
        )
    return name


@pytest.fixture(scope="module")
def measured(
    repository: str, registry: Registry, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[tuple[str, int]]]:
    """The history of the repository, and (digest, bytes) of the blobs that were fetched for it."""
    target = tmp_path_factory.mktemp("history") / "debian.json.xz"
    with fetched(registry) as found:
        storage.rechunk("history", f"docker://{repository}", "-o", target, "--tls-verify=false")
    return target, found


def manifest(repository: str, date: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pushing.document(f"{repository}:{date.replace('-', '')}"))
    return found


def test_blobs_are_fetched_once(
    measured: tuple[Path, list[tuple[str, int]]],
    repository: str,
    registry: Registry,
    storage: Storage,
    tmp_path: Path,
) -> None:
    target, found = measured
    manifests = [manifest(repository, date) for date in DATES]
    blobs = {b["digest"]: b["size"] for m in manifests for b in (*m["layers"], m["config"])}
    assert sum(size for _, size in found) <= 1.05 * sum(blobs.values())
    layers = {layer["digest"] for m in manifests for layer in m["layers"]}
    assert sorted(digest for digest, _ in found if digest in layers) == sorted(layers)
    with fetched(registry) as again:
        storage.rechunk("history", f"docker://{repository}", "-o", tmp_path / "a.json", "--tls-verify=false")
    assert not [digest for digest, _ in again if digest in layers]
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(lzma.decompress(target.read_bytes()))


def test_releases_are_those_of_the_tags(
    measured: tuple[Path, list[tuple[str, int]]], repository: str
) -> None:
    document = json.loads(lzma.decompress(measured[0].read_bytes()))
    releases = document["releases"]
    assert [release["id"] for release in releases][:-1] == [date.replace("-", "") for date in DATES[:-1]]
    assert releases[-1]["layers"] == [
        [layer["digest"], layer["size"]] for layer in manifest(repository, DATES[-1])["layers"]
    ]
    changed = [set(release["set"]) for release in releases[1:]]
    assert all(any(name.startswith("dpkg/") for name in names) for names in changed)
    assert all(document["components"][name]["size_from"] == "measured" for name in document["components"])


@pytest.fixture(scope="module")
def pulls(
    tars: list[Path], storage: Storage, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> list[int]:
    """Bytes of layers that a client fetches at each update of the series, split into 64 layers."""
    name = f"{registry.address}/history/split"
    sizes = []
    with tools.private_storage(tmp_path_factory.mktemp("client")) as own:
        client = Client(own, registry)
        for number, (tar, date) in enumerate(zip(tars, DATES, strict=True)):
            image = f"localhost/history:{number}"
            layout = oci_layout([tar], tmp_path_factory.mktemp("layout") / "l", created=f"{date}T06:00:00Z")
            storage.copy(f"oci:{layout}", f"containers-storage:{image}")
            memory = ("--previous", f"docker://{name}:{number - 1}") if number else ()
            pushing.push(storage, image, "--push", f"docker://{name}:{number}", *memory)
            got = client.pull(f"{name}:{number}")
            layers = {layer["digest"] for layer in json.loads(pushing.document(f"{name}:{number}"))["layers"]}
            sizes.append(sum(size for digest, size in got.items() if digest in layers))
    return sizes


def test_the_replay_agrees_with_real_splits_and_pulls(
    measured: tuple[Path, list[tuple[str, int]]], pulls: list[int], repository: str, storage: Storage
) -> None:
    told = json.loads(storage.rechunk("simulate", measured[0], "--max-layers", "64,120", "--json").out)
    at_64, at_120 = told["histories"]
    simulated = [update["bytes"] for update in at_64["per_update"]]
    print(simulated, pulls)
    assert len(simulated) == len(pulls) - 1
    assert sum(simulated) == pytest.approx(sum(pulls[1:]), rel=0.02)
    assert simulated == pytest.approx(pulls[1:], rel=0.02)
    own = [
        sum(layer["size"] for layer in new["layers"] if layer not in old["layers"])
        for old, new in pairwise([manifest(repository, date) for date in DATES])
    ]
    assert [update["own"] for update in at_64["per_update"]] == own
    assert at_120["bound"] == at_64["bound"]
    assert at_120["bytes"]["1"] <= at_64["bytes"]["1"] < at_64["own"]["1"]
