"""A switch from another tool: its layers stay in the registry and with the clients while they are right."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.build.job import Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.write.compress import Compression
from support import tools
from support.oci_material import Layout, archive_of, make_tar, member
from support.pushing import Client, document, push
from support.updates import blobs

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PARTS = 12
LAYERS = "--max-layers=24"
MEMBERS = list[Any]


def part(number: int, seed: int = 0) -> MEMBERS:
    """The members of a component."""
    data = random.Random(f"{number} {seed}").randbytes(100_000 + 5_000 * number)
    return [member(f"opt/part{number}/data", data=data), member(f"opt/part{number}/doc", data=b"%d" % number)]


def by_path(path: Path, parts: Mapping[int, MEMBERS], arch: str = "amd64") -> Path:
    """An image of a small splitter that is not ours: a layer for each path, with chunkah's annotations."""
    made = Layout(path)
    made.config["architecture"] = arch
    for number, members in parts.items():
        tar = make_tar(members)
        made.layer(tar, gzip.compress(tar, mtime=0), GZIP)
        made.manifest["layers"][-1]["annotations"] = {
            "org.chunkah.component": f"part{number}",
            "org.chunkah.stability": "0.900",
        }
    return made.finish()


def plain(path: Path, *layers: MEMBERS, arch: str = "amd64") -> Path:
    """An image of a plain build."""
    made = Layout(path)
    made.config["architecture"] = arch
    for members in layers:
        tar = make_tar(members)
        made.layer(tar, gzip.compress(tar, mtime=0), GZIP)
    return made.finish()


def upload(storage: tools.Storage, layout: Path, reference: str) -> None:
    storage.run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"),
        *(f"oci:{layout}", f"docker://{reference}"),
    )


def layers(reference: str) -> dict[str, tuple[str, int, dict[str, str]]]:
    """diff_id -> digest, size and annotations of the layers of an image in the registry."""
    config = json.loads(document(reference, "--config"))
    found = json.loads(document(reference))["layers"]
    return {
        diff_id: (layer["digest"], layer["size"], layer.get("annotations", {}))
        for diff_id, layer in zip(config["rootfs"]["diff_ids"], found, strict=True)
    }


def adopted(
    storage: tools.Storage, client: Client, new: Path, repository: str, *options: str
) -> tuple[set[str], dict[str, int], str]:
    """The diff_ids that stay in the update from :1 to :2, what a client fetches, and the log."""
    assert client.pull(f"{repository}:1")
    words = ["--push", f"docker://{repository}:2", *options]
    if "--previous" not in options:
        words += ["--previous", f"docker://{repository}:1"]
    log = push(storage, f"oci:{new}", *words).err
    storage.rechunk("verify", f"oci:{new}", f"docker://{repository}:2", "--tls-verify=false")
    old, result = layers(f"{repository}:1"), layers(f"{repository}:2")
    same = old.keys() & result.keys()
    for diff_id in same:
        assert result[diff_id][0] == old[diff_id][0]
    fetched = client.pull(f"{repository}:2")
    fetched.pop(json.loads(document(f"{repository}:2"))["config"]["digest"])
    had = {digest for digest, _, _ in old.values()}
    assert fetched == {digest: size for digest, size, _ in result.values() if digest not in had}
    client.storage.rechunk("verify", f"oci:{new}", f"containers-storage:{repository}:2")
    return same, fetched, log


def test_layers_by_path(
    storage: tools.Storage, registry: tools.Registry, client: Client, tmp_path: Path
) -> None:
    """One part changes, one goes, one is new: a client fetches these layers, and keeps all others."""
    repository = f"{registry.address}/adopt/by-path"
    parts = {number: part(number) for number in range(PARTS)}
    upload(storage, by_path(tmp_path / "old", parts), f"{repository}:1")
    parts[3] = part(3, 1)
    del parts[7]
    parts[PARTS] = part(PARTS)
    new = plain(tmp_path / "new", [one for members in parts.values() for one in members])
    same, fetched, log = adopted(storage, client, new, repository, LAYERS)
    assert len(same) == PARTS - 2
    assert f"{PARTS - 2} of {PARTS} layers that other tools made stay as they are" in log
    assert sum(fetched.values()) < 300_000
    kept = layers(f"{repository}:2")
    assert {kept[diff_id][2]["org.chunkah.stability"] for diff_id in same} == {"0.900"}
    again = push(
        storage, f"oci:{new}", "--push", f"docker://{repository}:3", "--previous", f"docker://{repository}:2"
    )
    assert layers(f"{repository}:3") == kept, again.err


def test_a_plain_build_of_three_layers(
    storage: tools.Storage, registry: tools.Registry, client: Client, tmp_path: Path
) -> None:
    """The lowest layer has files that are gone or replaced: it goes. The others hold only what is there."""
    repository = f"{registry.address}/adopt/plain"
    base = [one for number in range(4) for one in part(number)]
    middle = [*part(1, 5), member("opt/part0/.wh.doc"), *(one for n in range(4, 9) for one in part(n))]
    app = [member("srv/app", data=random.Random(1).randbytes(50_000))]
    upload(storage, plain(tmp_path / "old", base, middle, app), f"{repository}:1")
    new = plain(tmp_path / "new", base, middle, [member("srv/app", data=random.Random(2).randbytes(50_000))])
    same, _, log = adopted(storage, client, new, repository)
    assert same == {list(layers(f"{repository}:1"))[1]}
    assert "1 of 3 layers that other tools made stay as they are" in log


def test_ten_more_updates(storage: tools.Storage, registry: tools.Registry, tmp_path: Path) -> None:
    """The other tool's share falls; in the end clients download what a series of ours costs."""
    repository = f"{registry.address}/adopt/more"
    chance = random.Random(7)
    seeds = dict.fromkeys(range(3 * PARTS), 0)
    old = plain(
        tmp_path / "old", *([m for n in seeds if n % PARTS == k for m in part(n)] for k in range(PARTS))
    )
    upload(storage, old, f"{repository}:0")
    images = [layers(f"{repository}:0")]
    ours = split_into(tmp_path / "ours0", old, None)
    had, shares, new_bytes, own_bytes = blobs(ours), [], [], []
    for step in range(1, 12):
        for number in (0, 1, 2, chance.choice((3, 4, 5))):
            seeds[number] = step
        files = [one for number, seed in seeds.items() for one in part(number, seed)]
        new = plain(tmp_path / f"new{step}", files)
        words = ["--push", f"docker://{repository}:{step}", "--previous", f"docker://{repository}:{step - 1}"]
        push(storage, f"oci:{new}", *words, LAYERS)
        images.append(layers(f"{repository}:{step}"))
        before, after = ({blob: size for blob, size, _ in one.values()} for one in images[-2:])
        new_bytes.append(sum(size for blob, size in after.items() if blob not in before))
        shares.append(len(images[0].keys() & images[-1].keys()))
        ours = split_into(tmp_path / f"ours{step}", new, ours)
        own_bytes.append(sum(size for digest, size in blobs(ours).items() if digest not in had))
        had = blobs(ours)
    storage.rechunk("verify", f"oci:{new}", f"docker://{repository}:11", "--tls-verify=false")
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0] < PARTS
    assert new_bytes[0] < 0.5 * sum(size for _, size, _ in images[0].values())
    assert sum(new_bytes[-5:]) <= 1.1 * sum(own_bytes[-5:])


def split_into(output: Path, image: Path, previous: Path | None) -> Path:
    """Split an image into a layout that holds all of its blobs."""
    with tempfile.TemporaryDirectory() as work:
        run(
            Job(
                rootfs=work,
                layers=f"oci:{image}",
                options=BuildOptions(compression=Compression.parse("zstd"), max_layers=24),
                config="{}",
                previous=None if previous is None else f"oci:{previous}",
                reuse=False,
                output=f"oci:{output}",
            )
        )
    return output


def test_in_local_storage(storage: tools.Storage, tmp_path: Path) -> None:
    """The new image has the layers of the previous one that did not change, and storage holds them once."""
    base = [one for number in range(4) for one in part(number)]
    app = [member("srv/app", data=random.Random(1).randbytes(50_000))]
    old = plain(tmp_path / "old", base, [*part(4), *part(5)], app)
    new = plain(tmp_path / "new", [*base, *part(4), *part(5), member("srv/app", data=b"new")])
    for name, image in (("old", old), ("new", new)):
        storage.copy(f"oci:{image}", f"containers-storage:localhost/adopted:{name}")
    words = ("-t", "localhost/adopted:split", "--previous", "localhost/adopted:old", "--engine", "native")
    done = storage.rechunk("split", "localhost/adopted:new", *words)
    assert "2 of 3 layers that other tools made stay as they are" in done.err
    kept = diff_ids(storage, "old")[:2]
    assert diff_ids(storage, "split")[:2] == kept
    storage.rechunk("verify", "localhost/adopted:new", "localhost/adopted:split")
    words = ("-t", "localhost/adopted:again", "--previous", "localhost/adopted:split", "--engine", "native")
    storage.run("podman", "rmi", "localhost/adopted:old")
    storage.rechunk("split", "localhost/adopted:new", *words)
    assert diff_ids(storage, "again") == diff_ids(storage, "split")
    archive = tmp_path / "archive.tar"
    storage.rechunk(
        *("split", "localhost/adopted:new", "--previous", "localhost/adopted:split"),
        *("--output", f"oci-archive:{archive}"),
    )
    storage.rechunk("verify", "localhost/adopted:new", f"oci-archive:{archive}")
    with open_image(f"oci-archive:{archive}") as image:
        assert [layer.diff_id for layer in image.record.layers] == diff_ids(storage, "split")
    docker = tmp_path / "docker.tar"
    storage.copy(f"oci:{old}", f"docker-archive:{docker}:localhost/adopted:old")
    words = ("--previous", f"docker-archive:{docker}", "--output", f"oci:{tmp_path / 'of-docker'}")
    done = storage.rechunk("split", "localhost/adopted:new", *words)
    assert re.search(r"2 of 3 layers that other tools made stay as they are, 6\d\d\.\d kB of 7\d\d", done.err)
    storage.rechunk("verify", "localhost/adopted:new", f"oci:{tmp_path / 'of-docker'}")


def diff_ids(storage: tools.Storage, tag: str) -> list[str]:
    """Return the diff_ids of an image in local storage."""
    found = storage.inspect(f"localhost/adopted:{tag}")["RootFS"]
    assert isinstance(found, dict)
    return list(found["Layers"])


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_the_previous_image_is_a_file(
    storage: tools.Storage, registry: tools.Registry, client: Client, tmp_path: Path, transport: str
) -> None:
    """A pipeline that has the previous image as a file: the blobs of its kept layers are in the registry."""
    repository = f"{registry.address}/adopt/{transport}"
    parts = {number: part(number) for number in range(PARTS)}
    old = by_path(tmp_path / "old", parts)
    upload(storage, old, f"{repository}:1")
    previous = old if transport == "oci" else archive_of(old, tmp_path / "old.tar")
    parts[3] = part(3, 1)
    new = plain(tmp_path / "new", [one for members in parts.values() for one in members])
    words = ("--previous", f"{transport}:{previous}")
    same, _, log = adopted(storage, client, new, repository, LAYERS, *words)
    assert len(same) == PARTS - 1
    assert log.count("previous image: ") == 1


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_previous_image_is_in_an_index(
    storage: tools.Storage, registry: tools.Registry, tmp_path: Path, arch: str
) -> None:
    """An index holds images of several platforms: layers of the one for the new image's platform stay."""
    index = Layout(tmp_path / "index")
    entries = []
    for number, name in enumerate(("amd64", "arm64")):
        parts = {n: part(n, number) for n in range(PARTS)}
        old = by_path(tmp_path / name, parts, name)
        shutil.copytree(old / "blobs", index.path / "blobs", dirs_exist_ok=True)
        (entry,) = json.loads((old / "index.json").read_text())["manifests"]
        entries.append({**entry, "platform": {"os": "linux", "architecture": name}})
        if name == arch:
            parts[3] = part(3, 7)
            new = plain(tmp_path / "new", [one for members in parts.values() for one in members], arch=name)
    index.index["manifests"] = entries
    index.write("index.json", index.index)
    archive_of(index.path, tmp_path / "index.tar")
    repository = f"{registry.address}/adopt/index-{arch}"
    for name in ("amd64", "arm64"):
        upload(storage, tmp_path / name, f"{repository}:{name}")
    members = [f"docker://{repository}:{name}" for name in ("amd64", "arm64")]
    storage.rechunk("index", *members, "--push", f"docker://{repository}:1", "--tls-verify=false")
    places = (f"oci:{index.path}", f"oci-archive:{tmp_path / 'index.tar'}", f"docker://{repository}:1")
    for number, previous in enumerate(places):
        if previous.startswith("docker:"):
            log = push(
                storage, f"oci:{new}", "--previous", previous, "--push", f"docker://{repository}:2", LAYERS
            ).err
            storage.rechunk(
                "verify", f"oci:{new}", f"docker://{repository}:2", "--tls-verify=false", f"--arch={arch}"
            )
        else:
            output = f"oci:{tmp_path / f'out{number}'}"
            log = storage.rechunk(
                "split", f"oci:{new}", "--previous", previous, "--output", output, LAYERS
            ).err
            storage.rechunk("validate", output)
            storage.rechunk("verify", f"oci:{new}", output, f"--arch={arch}")
        assert f"{PARTS - 1} of {PARTS} layers that other tools made stay as they are" in log


@pytest.mark.parametrize("option", ["--adopt=no", "--fresh"])
def test_all_planned_anew(
    storage: tools.Storage, registry: tools.Registry, client: Client, tmp_path: Path, option: str
) -> None:
    repository = f"{registry.address}/adopt/{option.strip('-').replace('=', '-')}"
    old = by_path(tmp_path / "old", {number: part(number) for number in range(3)})
    upload(storage, old, f"{repository}:1")
    same, _, _ = adopted(storage, client, old, repository, option)
    assert not same


def test_an_update_over_its_limit_is_not_pushed(
    storage: tools.Storage, registry: tools.Registry, tmp_path: Path
) -> None:
    """--max-update: the three largest layers are named, and nothing of the image is in the registry."""
    repository = f"{registry.address}/adopt/limit"
    parts = {number: part(number) for number in range(4)}
    first = by_path(tmp_path / "first", parts)
    push(storage, f"oci:{first}", "--push", f"docker://{repository}:1", "--max-update=1kB")
    second = by_path(tmp_path / "second", {**parts, **{number: part(number, 1) for number in range(4)}})
    blobs = set((registry.log.parent / "content").glob("docker/registry/v2/blobs/sha256/*/*"))
    words = ["--push", f"docker://{repository}:1"]
    done = push(storage, f"oci:{second}", *words, "--max-update=300kB", check=False)
    assert done.code == 1
    assert "more than --max-update allows: 300.0 kB" in done.err
    assert done.err.count(", layer ") == 3
    assert "unclaimed/opt/part3" in done.err
    assert set((registry.log.parent / "content").glob("docker/registry/v2/blobs/sha256/*/*")) == blobs
    fresh = push(storage, f"oci:{second}", *words, "--max-update=300kB", "--fresh", check=False)
    assert fresh.code == 1
    assert "more than --max-update allows: 300.0 kB" in fresh.err
    push(storage, f"oci:{second}", *words, "--max-update=1MB")
    storage.rechunk("verify", f"oci:{second}", f"docker://{repository}:1", "--tls-verify=false")
    images = (f"oci:{first}", f"oci:{second}")
    assert storage.rechunk("diff", *images, "--max-update=1MB").code == 0
    done = storage.rechunk("diff", *images, "--max-update=300kB", check=False)
    assert done.code == 1
    assert done.err.count(", layer ") == 3
    assert storage.rechunk("diff", *images, "--max-update=lots", check=False).code == 2
