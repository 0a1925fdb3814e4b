"""Parts from files to layers: an update of one file downloads its part, the same image again nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rechunk_podman.build.documents import plan_document
from rechunk_podman.build.image_ledger import find_ledger
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, build, plan_only
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.output import Output

KB = 1024

USUAL = BuildOptions()


def write(root: Path, name: str, seed: int) -> None:
    path = root / "opt/app" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(900 * KB))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(f"{folder}/{file}" for folder in ("data", "more") for file in "abc"):
        write(tmp_path / "root", name, number)
    return tmp_path / "root"


def built(root: Path, output: Path, before: Path | None = None, options: BuildOptions = USUAL) -> Path:
    """Build an image, with the Ledger of the one before."""
    previous = None
    if before is not None:
        previous = find_ledger(ImageConfig.parse(document(before, "config"))).ledger
    build(Source(str(root), previous=previous), options, Output.parse(f"oci:{output}"))
    validate(output).check()
    return output


def document(image: Path, name: str) -> str:
    """Return the text of the manifest or the config of a layout."""
    (entry,) = json.loads((image / "index.json").read_text())["manifests"]
    manifest = (image / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_text()
    if name == "manifest":
        return manifest
    config = json.loads(manifest)["config"]["digest"].removeprefix("sha256:")
    return (image / "blobs/sha256" / config).read_text()


def layers(image: Path) -> dict[str, int]:
    """Return the digests and bytes of an image's layers."""
    return {layer["digest"]: layer["size"] for layer in json.loads(document(image, "manifest"))["layers"]}


def test_an_update_of_one_file_downloads_its_part(root: Path, tmp_path: Path) -> None:
    images = [built(root, tmp_path / "0")]
    for number in (1, 2):
        write(root, "data/a", 100 + number)
        images.append(built(root, tmp_path / str(number), images[-1]))
    new = [size for digest, size in layers(images[2]).items() if digest not in layers(images[1])]
    assert len(new) == 1
    assert new[0] < 1000 * KB
    again = built(root, tmp_path / "3", images[2])
    assert document(again, "manifest") == document(images[2], "manifest")
    text = document(again, "config")
    assert "unclaimed/opt/app·/opt/app/data" in text
    chunkah = json.loads(document(again, "manifest"))["layers"][-1]["annotations"]["org.chunkah.component"]
    assert chunkah == "unclaimed/opt/app"
    source = Source(str(root), previous=find_ledger(ImageConfig.parse(document(images[2], "config"))).ledger)
    planned = plan_document(plan_only(source, USUAL), ())
    held = [component for layer in planned["layers"] for component in layer["components"]]
    parts = [component["parts"] for component in held if component["id"] == "unclaimed/opt/app"]
    assert len(parts) == 2
    assert all(name.startswith("/opt/app/") for names in parts for name in names)
    assert not set(parts[0]) & set(parts[1])
    whole = built(root, tmp_path / "4", images[2], BuildOptions(parts=False))
    assert len(layers(whole)) == len(layers(images[0]))


def test_a_large_component_has_several_layers(root: Path, tmp_path: Path) -> None:
    image = built(root, tmp_path / "0", options=BuildOptions(max_layer_size=3_000_000))
    assert max(layers(image).values()) <= 3_000_000
    assert len(layers(image)) == 3
    assert built(root, tmp_path / "1", image, BuildOptions(max_layer_size=3_000_000))
    assert document(tmp_path / "1", "manifest") == document(image, "manifest")


@pytest.mark.parametrize("name", ["n" * 180, "\N{GREEK SMALL LETTER ALPHA}" * 60], ids=["long", "greek"])
def test_long_names_count_for_the_limit(tmp_path: Path, name: str) -> None:
    """A name that ustar cannot hold takes 1 KiB more, of which planning knows nothing."""
    folder = tmp_path / "root/opt/app"
    folder.mkdir(parents=True)
    for number in range(8_000):
        (folder / f"{name}{number}").touch()
    options = BuildOptions(max_layer_size=4_000_000)
    image = built(tmp_path / "root", tmp_path / "0", options=options)
    assert sum(layers(image).values()) > 12_000_000
    assert max(layers(image).values()) <= 4_000_000
    again = built(tmp_path / "root", tmp_path / "1", image, options)
    assert document(again, "manifest") == document(image, "manifest")


def test_a_limit_that_cannot_be_held_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each file has twelve directories of its own, whose headers are in no component."""
    for number in range(1_000):
        folder = tmp_path / f"root/opt/app/{number}/a/b/c/d/e/f/g/h/i/j/k"
        folder.mkdir(parents=True)
        (folder / "file").touch()
    with caplog.at_level("WARNING", "rechunk_podman"):
        image = built(tmp_path / "root", tmp_path / "0", options=BuildOptions(max_layer_size=3_000_000))
    largest = max(layers(image).values())
    assert ("more than the limit of 3.0 MB" in caplog.text) == (largest > 3_000_000)
