"""Layers that a registry gives after a failure, or never: who reads them goes on, or says why not."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman.build.previous import Previous, verify_blobs
from rechunk_podman.errors import ImageError, RechunkError
from rechunk_podman.history.run import measure
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.reference import LocationKind
from rechunk_podman.oci.spec import Layer
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.answers import DeniedError, UnreachableError
from rechunk_podman.registry.blobs import open_registry_image
from support import tools
from support.front import CUT, Front, front_of
from support.needs import needs_root, require
from support.oci_material import Layout, make_tar, member, run

PLAIN = Registry(tls_verify=False)
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry with two images, of two layers each."""
    require("docker-registry", "skopeo")
    folder = tmp_path_factory.mktemp("registry")
    with tools.loopback_registry(folder) as found:
        for number in range(2):
            made = Layout(folder / f"image{number}")
            made.config["created"] = f"2026-01-0{number + 1}T00:00:00Z"
            for name, seed in (("a", 0), ("b", number)):
                data = random.Random(f"{name} {seed}").randbytes(300_000)
                tar = make_tar([member(f"opt/{name}/data", data=data)])
                made.layer(tar, gzip.compress(tar, mtime=0), GZIP)
            target = f"docker://{found.address}/broken:{number}"
            words = ("--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false")
            run("skopeo", *words, f"oci:{made.finish()}", target)
        yield found


@pytest.fixture
def front(registry: tools.Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rechunk_podman.registry.retry.FIRST_WAIT", 0.0)
    with front_of(registry.address) as front:
        yield front


def fail(front: Front, status: int, times: int = 1000) -> None:
    """Let so many reads of layers fail; configs and manifests are smaller."""
    reference = f"docker://{front.address}/broken:0"
    with open_registry_image(reference, PLAIN) as image:
        layers = {str(layer.descriptor.digest) for layer in image.record.layers if layer.descriptor}
    left = [status] * times

    def fault(method: str, path: str) -> int | None:
        is_layer = method == "GET" and path.rpartition("/")[2] in layers
        return left.pop() if is_layer and left else None

    front.fault = fault


@pytest.mark.parametrize("status", [CUT, 500])
def test_a_failure_that_passes(front: Front, status: int, warnings: list[str]) -> None:
    fail(front, status, 2)
    found = measure([f"docker://{front.address}/broken"], registry=PLAIN)
    assert len(found["releases"]) == 2
    assert len([line for line in warnings if "attempt" in line]) == 2


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (404, ImageError, "the registry has lost sha256:"),
        (403, DeniedError, "the registry does not give sha256:"),
        (503, UnreachableError, "cannot be fetched"),
        (CUT, UnreachableError, "cannot be fetched"),
    ],
)
def test_a_failure_that_stays(front: Front, status: int, kind: type[RechunkError], text: str) -> None:
    fail(front, status)
    reference = f"docker://{front.address}/broken:0"
    with open_registry_image(reference, PLAIN) as image, pytest.raises(kind) as caught:
        read_tree(image)
    assert text in caught.value.message
    assert reference in caught.value.message


@needs_root
def test_no_room_for_a_layer(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file: it was taken for a failure of standard output."""
    place = tmp_path / "place"
    place.mkdir()
    tools.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
    try:
        monkeypatch.setenv("TMPDIR", str(place))
        reference = f"docker://{front.address}/broken:0"
        with (
            open_registry_image(reference, PLAIN) as image,
            pytest.raises(RechunkError, match=f"cannot write {place}.*No space left"),
        ):
            read_tree(image)
    finally:
        tools.run("umount", place)


def test_a_blob_that_broke_off_is_not_damaged(front: Front, warnings: list[str]) -> None:
    """Else its layer would be written anew, at another level."""
    reference = f"docker://{front.address}/broken:0"
    with open_registry_image(reference, PLAIN) as image:
        record = image.record
    layers = []
    for layer in record.layers:
        assert layer.descriptor is not None
        layers.append(Layer(layer.diff_id, layer.descriptor, 1 << 20))
    previous = Previous(record, f"docker://{front.address}/broken@{record.digest}", LocationKind.REGISTRY)
    fail(front, CUT, 2)
    assert verify_blobs(previous, layers, PLAIN) == {}
    assert len([line for line in warnings if "attempt" in line]) == 2
    fail(front, CUT)
    unsound = verify_blobs(previous, layers, PLAIN)
    assert unsound
    assert not any(unsound.values())
