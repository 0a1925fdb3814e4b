"""A switch from another tool: its layers stay in the registry and with the clients while they are right."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support import tools
from support.oci_material import Layout, make_tar, member
from support.pushing import Client, document, push

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PARTS = 12
MEMBERS = list[Any]


def part(number: int, seed: int = 0) -> MEMBERS:
    """The members of a component."""
    data = random.Random(f"{number} {seed}").randbytes(100_000 + 5_000 * number)
    return [member(f"opt/part{number}/data", data=data), member(f"opt/part{number}/doc", data=b"%d" % number)]


def by_path(path: Path, parts: Mapping[int, MEMBERS]) -> Path:
    """An image of a small splitter that is not ours: a layer for each path, with chunkah's annotations."""
    made = Layout(path)
    for number, members in parts.items():
        tar = make_tar(members)
        made.layer(tar, gzip.compress(tar, mtime=0), GZIP)
        made.manifest["layers"][-1]["annotations"] = {
            "org.chunkah.component": f"part{number}",
            "org.chunkah.stability": "0.900",
        }
    return made.finish()


def plain(path: Path, *layers: MEMBERS) -> Path:
    """An image of a plain build."""
    made = Layout(path)
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
    words = ["--push", f"docker://{repository}:2", "--previous", f"docker://{repository}:1", *options]
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
    same, fetched, log = adopted(storage, client, new, repository, "--max-layers=24")
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
