"""`split` of an image list in local storage, and `index` of indexes, with a real registry."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import tools
from support.documents import check_document
from support.pushing import Uploads, digest_of, document, push, same_files

PLATFORMS = ("amd64", "arm64")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry of this module: it counts blobs, and other modules push the same."""
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def platform_image(storage: tools.Storage, folder: Path, arch: str, text: str) -> str:
    """An image of a few files for a platform, one of them with that text; its name."""
    root = folder / f"root-{arch}"
    for path, content in (("etc/motd", text), (f"usr/lib/{arch}/lib.so", arch), ("usr/share/doc", "same")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content * 1000)
    layout, name = folder / f"layout-{arch}", f"localhost/platforms:{arch}"
    shutil.rmtree(layout, ignore_errors=True)
    storage.rechunk("build", "--rootfs", root, "--output", f"oci:{layout}", "--arch", arch, "--no-ledger")
    storage.copy(f"oci:{layout}", f"containers-storage:{name}")
    return name


@pytest.fixture(scope="module", autouse=True)
def no_lists_stay(storage: tools.Storage) -> Iterator[None]:
    """Remove the lists of these tests: podman lists no images while a list lacks one of its own."""
    yield
    for name in MADE:
        storage.run("podman", "manifest", "rm", name, check=False)
    storage.run("podman", "images", "--all", "--quiet")


MADE: list[str] = []
"""Names of the lists that were made."""


def image_list(storage: tools.Storage, folder: Path, name: str, text: str, last: str = "") -> str:
    """A list of an image for each platform; its name. last: another text for the last platform."""
    folder.mkdir()
    storage.run("podman", "manifest", "create", name)
    MADE.append(name)
    for arch in PLATFORMS:
        image = platform_image(storage, folder, arch, last if last and arch == PLATFORMS[-1] else text)
        storage.run("podman", "manifest", "add", name, f"containers-storage:{image}")
    return name


def ledgers(reference: str) -> dict[str, list[str]]:
    """Return the Ledgers in the configs of an index, by architecture."""
    found = {}
    for entry in json.loads(document(reference))["manifests"]:
        repository = reference.rpartition(":")[0]
        config = json.loads(document(f"{repository}@{entry['digest']}", "--config"))
        assert config["architecture"] == entry["platform"]["architecture"]
        found[config["architecture"]] = [
            item["comment"] for item in config["history"] if item.get("created_by", "").endswith(" ledger")
        ]
    return found


def test_a_list_becomes_an_index(storage: tools.Storage, registry: tools.Registry, tmp_path: Path) -> None:
    """Each image is split and keeps a Ledger of its own; the next push reuses the layers of its platform."""
    repository = f"{registry.address}/list/image"
    state, file = tmp_path / "state.json", tmp_path / "digest"
    tags = [f"--push=docker://{repository}:{tag}" for tag in ("stable", "1")]
    options = [*tags, "--state", state, "--digestfile", file, "--workdir", tmp_path]

    first = image_list(storage, tmp_path / "one", "localhost/platforms:first", "one")
    done = push(storage, first, *options)
    digest = done.out.strip()
    assert digest == file.read_text() == digest_of(f"{repository}:stable") == digest_of(f"{repository}:1")
    kept = ledgers(f"{repository}:stable")
    assert sorted(kept) == sorted(PLATFORMS)
    assert all(len(entries) == 1 for entries in kept.values())
    assert kept["amd64"] != kept["arm64"]
    for entry in json.loads(document(f"{repository}:1"))["manifests"]:
        arch = entry["platform"]["architecture"]
        same_files(storage, f"localhost/platforms:{arch}", f"{repository}@{entry['digest']}", tmp_path)

    watch = Uploads(registry)
    assert push(storage, first, *options).out.strip() == digest
    assert watch.new == set()
    assert watch.requests("(PATCH|POST|PUT) /v2/list/image/blobs/") == 0
    assert watch.requests("GET /v2/list/image/blobs/") <= 8  # configs: the images are known to be this user's

    second = image_list(storage, tmp_path / "two", "localhost/platforms:second", "two")
    told = check_document("push", push(storage, second, *options, "--attach", "--json").out)
    subjects = [json.loads(document(name.removeprefix("docker://")))["subject"] for name in told["attached"]]
    assert [subject["digest"] for subject in subjects] == [image["digest"] for image in told["images"]]
    assert told["digest"] == file.read_text() == digest_of(f"{repository}:1") != digest
    assert [image["platform"] for image in told["images"]] == [f"linux/{arch}" for arch in PLATFORMS]
    for image in told["images"]:
        reused = [layer["reused"] for layer in image["layers"]]
        assert reused.count(False) == 1
        assert len(reused) > 2
        arch = image["platform"].partition("/")[2]
        same_files(storage, f"localhost/platforms:{arch}", f"{repository}@{image['digest']}", tmp_path)


def test_the_limit_of_all_images_comes_before_any_upload(
    storage: tools.Storage, registry: tools.Registry, tmp_path: Path
) -> None:
    """--max-update: the first image keeps the limit, and is not sent, because the second one does not."""
    repository = f"{registry.address}/list/limit"
    listed = image_list(storage, tmp_path / "small", "localhost/platforms:small", "one")
    target = f"--push=docker://{repository}:1"
    digest = push(storage, listed, target, "--max-update=6kB").out.strip()
    text = random.Random(1).randbytes(10_000).hex()
    listed = image_list(storage, tmp_path / "large", "localhost/platforms:large", "two", text)
    watch = Uploads(registry)
    done = push(storage, listed, target, "--max-update=6kB", check=False)
    assert done.code == 1
    assert "more than --max-update allows: 6.0 kB" in done.err
    assert watch.new == set()
    assert digest_of(f"{repository}:1") == digest
    told = json.loads(push(storage, listed, target, "--max-update=60kB", "--json").out)
    assert [image["new"] < 6000 for image in told["images"]] == [True, False]
    for arch, image in zip(PLATFORMS, told["images"], strict=True):
        same_files(storage, f"localhost/platforms:{arch}", f"{repository}@{image['digest']}", tmp_path)


def test_lists_that_cannot_be_split(storage: tools.Storage, registry: tools.Registry, tmp_path: Path) -> None:
    """Into storage; by one config; of images that are not there; of two for one platform."""
    name = f"docker://{registry.address}/list/none:1"
    listed = image_list(storage, tmp_path / "some", "localhost/platforms:some", "some")
    config = tmp_path / "config.json"
    config.write_text("{}")
    watch = Uploads(registry)

    def refused(*words: object) -> str:
        done = push(storage, listed, *words, check=False)
        assert done.code == 2
        assert done.out == ""
        assert "hint: " in done.err
        return done.err

    assert f"error: {listed} is a list of 2 images" in refused()
    assert f"error: {listed} is a list of 2 images" in refused("--output", "oci:x")
    assert "--config FILE is for one image" in refused(f"--push={name}", "--config", config)
    again = platform_image(storage, tmp_path / "some", "arm64", "other")
    storage.run("podman", "manifest", "add", listed, f"containers-storage:{again}")
    assert "two images for linux/arm64" in refused(f"--push={name}")
    storage.run("podman", "rmi", again)
    assert f"error: images of the list {listed} are not in local storage" in refused(f"--push={name}")
    assert watch.new == set()


def test_an_index_of_indexes(storage: tools.Storage, registry: tools.Registry, tmp_path: Path) -> None:
    """All images of an index come along; a layout of several images is refused."""
    repository = f"{registry.address}/list/members"
    listed = image_list(storage, tmp_path / "members", "localhost/platforms:members", "members")
    push(storage, listed, f"--push=docker://{repository}:two")
    layout = tmp_path / "third"
    root = tmp_path / "members/root-arm64"
    storage.rechunk("build", "--rootfs", root, "--output", f"oci:{layout}", "--arch", "riscv64")
    words = ["--tls-verify=false", f"--push=docker://{repository}:three"]
    done = storage.rechunk("index", f"docker://{repository}:two", f"oci:{layout}", *words, "--json")
    told = json.loads(done.out)
    platforms = [entry["platform"] for entry in told["images"]]
    assert platforms == ["linux/amd64", "linux/arm64", "linux/riscv64"]
    assert told["digest"] == digest_of(f"{repository}:three")
    before = json.loads(document(f"{repository}:two"))["manifests"]
    assert json.loads(document(f"{repository}:three"))["manifests"][:2] == before

    whole = tmp_path / "whole"
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"]
    storage.run(*command, f"docker://{repository}:two", f"oci:{whole}")
    done = storage.rechunk("index", f"oci:{whole}", *words, check=False)
    assert done.code == 2
    assert "holds 2 images" in done.err


@pytest.mark.parametrize("tag", ["absent", "manifest"])
def test_what_is_no_list(storage: tools.Storage, tag: str) -> None:
    """A name that nothing has is not looked for elsewhere."""
    done = storage.rechunk("split", f"localhost/nothing:{tag}", check=False)
    assert done.code == 2
    assert f"error: no image localhost/nothing:{tag} in local storage" in done.err
