"""A Ledger that version 0.1.0 wrote is read, and its record goes on."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from rechunk_podman.build.image_ledger import find_ledger
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, build
from rechunk_podman.model import ComponentId
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.output import Output
from rechunk_podman.planning.ledger import FORMAT, Ledger
from support.assigning import make

CONFIG = Path(__file__).parents[2] / "data" / "ledger-format-1.json"

WEEK = 604_800
START = 1_750_000_000
PACKAGES = ("alpha", "beta", "gamma", "delta", "firmware")

FIRMWARE = [f"usr/lib/firmware/{vendor}/blob{number}" for vendor in "abc" for number in range(3)]


def release(top: Path, number: int) -> Path:
    """Make the root filesystem of a release: beta changes in each, gamma and one directory in the second."""
    versions = {"beta": f"1.{number}", "gamma": "2" if number else "1"}
    files: dict[str, str | bytes] = {"etc/motd": "hello\n"}
    records = []
    for name in PACKAGES:
        version = versions.get(name, "1.0")
        records.append(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n"
        )
        own = FIRMWARE if name == "firmware" else [f"usr/share/{name}/data"]
        for path in own:
            seed = path + (version if name != "firmware" else str(number > 1 and "/a/" in path))
            files[path] = random.Random(seed).randbytes(700_000 if name == "firmware" else 30_000)
        files[f"var/lib/dpkg/info/{name}.list"] = "".join(f"/{path}\n" for path in own)
    files["var/lib/dpkg/status"] = "\n".join(records)
    make(top, files)
    for path in top.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return top


def ledger_of(layout: Path) -> Ledger:
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_text())
    config = (blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text()
    return find_ledger(ImageConfig.parse(config)).ledger


def test_the_record_of_0_1_0_goes_on(tmp_path: Path) -> None:
    config = ImageConfig.parse(CONFIG.read_text())
    (text,) = [entry.comment for entry in config.history if entry.comment.startswith("RL")]
    assert text.startswith("RL1:")
    assert FORMAT > 1
    before = find_ledger(config).ledger
    assert before.dates == (START, START + WEEK)
    assert before.components[ComponentId("dpkg", "gamma")].version == "2"
    image = tmp_path / "image"
    options = BuildOptions(created=START + 2 * WEEK)
    build(Source(str(release(tmp_path / "root", 2)), previous=before), options, Output.parse(f"oci:{image}"))
    validate(image).check()
    after = ledger_of(image)
    assert after.dates == (*before.dates, START + 2 * WEEK)
    assert {ident.whole for ident in after.components} == set(before.components)
    for ident, record in before.components.items():
        found = after.components[ident]
        assert (found.changes >> 1, found.age) == (record.changes, record.age + 1)
    assert after.components[ComponentId("dpkg", "beta")].changes == 0b111
    if os.geteuid() == 0:
        # the files have the owner that they had in the image of 0.1.0
        changed = {ident.name for ident, record in after.components.items() if record.changes & 1}
        assert {"beta", "firmware"} <= changed
        assert not {"alpha", "gamma", "delta"} & changed
        assert {layer.prefix for layer in before.layers} & {layer.prefix for layer in after.layers}


if __name__ == "__main__":
    import sys

    for at in range(2):
        release(Path(sys.argv[1]) / str(at), at)
