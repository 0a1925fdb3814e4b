"""The bytes of an image are those that were recorded for this number of the tar format.

A layer of one component that has another diff_id is a mistake, or needs a new number (model.TAR_FORMAT), with
which clients download every layer anew. Where only the planner puts components elsewhere, or a document
changes, the digests of the images are recorded again: `python tests/tools/test_golden.py`, as root.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import zstandard

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from rechunk_podman.model import TAR_FORMAT
from rechunk_podman.oci.validate.image import validate
from support.golden_root import make_golden
from support.needs import unavailable

RECORDED = Path(__file__).parents[1] / "data" / "golden.json"

PROGRAMS = {"gzip": zlib.ZLIB_RUNTIME_VERSION, "zstd": ".".join(map(str, zstandard.ZSTD_VERSION))}
"""Compressors promise their bytes for one version of theirs alone."""

WITH_ZLIB = "import sys; sys.modules['zlib_ng'] = None; from rechunk_podman.cli.app import main; main()"
"""The program, in which zlib makes gzip although zlib-ng is installed."""

ALONE = "each component alone"

CASES = {
    ALONE: ("--compression", "none", "--max-layers", "400"),
    "none": ("--compression", "none"),
    "gzip": ("--compression", "gzip"),
    "zstd": ("--compression", "zstd", "--root-mode", "0555"),
    "few layers": ("--compression", "none", "--max-layers", "3", "--no-ledger"),
}


def build(top: Path, output: Path, *options: str) -> dict[str, Any]:
    """Build an image at `output`: the digests of its layers and documents, and of who owns which file."""
    components = output.with_suffix(".components")
    clean = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    command = [
        *(sys.executable, "-c", WITH_ZLIB, "build", "--rootfs", str(top), "--output", f"oci:{output}"),
        *("--max-layers", "12", "--keep-mtime", "/srv/keep", "--arch", "amd64", "-T", "2"),
        *("--source-date-epoch", "1710000000", "--write-manifest-to", str(components), *options),
    ]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    validate(output).check()
    index = json.loads((output / "index.json").read_bytes())
    digest = index["manifests"][0]["digest"]
    manifest = json.loads((output / "blobs" / digest.replace(":", "/")).read_bytes())
    config = json.loads((output / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_bytes())
    owned = json.loads(components.read_bytes())["components"]
    return {
        "manifest": digest,
        "diff_ids": config["rootfs"]["diff_ids"],
        "components": hashlib.sha256(json.dumps(owned, sort_keys=True).encode()).hexdigest(),
        "layers": [layer["annotations"]["org.rechunk.component"] for layer in manifest["layers"]],
    }


def build_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Every case, and then the second release on the memory of the first."""
    top = make_golden(folder / "root")
    found = {name: build(top, folder / name, *options) for name, options in CASES.items()}
    second = make_golden(folder / "second", release=2)
    memory = ("--compression", "none", "--previous", f"oci:{folder / 'none'}", "--no-reuse")
    return {**found, "with memory": build(second, folder / "with memory", *memory)}


def test_images_have_the_recorded_digests(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        unavailable("device nodes and foreign owners need root")
    recorded = json.loads(RECORDED.read_bytes())[str(TAR_FORMAT)]
    for name, found in build_all(tmp_path).items():
        wanted = recorded["images"][name]
        if name in PROGRAMS and recorded["programs"][name] != PROGRAMS[name]:
            del found["manifest"], wanted["manifest"]
        assert found == wanted, name


def test_the_number_of_the_tar_format_is_the_last_that_was_recorded() -> None:
    assert max(map(int, json.loads(RECORDED.read_bytes()))) == TAR_FORMAT


def record(folder: Path) -> None:
    """Write what is built now into RECORDED, under the present number."""
    recorded = json.loads(RECORDED.read_bytes()) if RECORDED.exists() else {}
    recorded[str(TAR_FORMAT)] = {"programs": PROGRAMS, "images": build_all(folder)}
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        record(Path(place))
