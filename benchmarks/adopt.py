"""Compare the first update after a switch from another tool, with its layers adopted and planned anew.

    python benchmarks/adopt.py [--max-layers 64]

The images are those of benchmarks/plain.py, as released and with updates. The other tool is a plain build
(its layers as it made them), or a splitter by packages, which is `build --no-ledger` at three quarters of the
layers here. For both, the first update is split with that image as the previous one, and once more with
--adopt no. Then the updates go to and fro between the two images, as often as --updates says.

Columns: layers that stay; MB that a client of the other tool's image downloads first, compressed; MB of all
updates after it. Compression is gzip at level 1, in favour of time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain
from rechunk_podman.build.job import Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run
from rechunk_podman.oci.write.compress import Compression
from support.oci_material import Layout

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def layout(path: Path, layers: tuple[Path, ...]) -> Path:
    """Write an image of these tars, compressed by gzip."""
    made = Layout(path)
    for layer in layers:
        tar = layer.read_bytes()
        made.layer(tar, gzip.compress(tar, 1, mtime=0), GZIP)
    return made.finish()


def layers_of(path: Path) -> dict[str, int]:
    """Return digest -> size of the layers of the one image in a layout."""
    (entry,) = json.loads((path / "index.json").read_bytes())["manifests"]
    manifest: dict[str, Any] = json.loads((path / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def split(new: Path, previous: Path | None, output: Path, options: BuildOptions) -> Path:
    """Split an image into a layout; add the blobs that only the previous image has."""
    with tempfile.TemporaryDirectory(dir=output.parent) as work:
        run(
            Job(
                rootfs=work,
                layers=f"oci:{new}",
                options=options,
                config="{}",
                previous=None if previous is None else f"oci:{previous}",
                output=f"oci:{output}",
                verify=False,
            )
        )
    for digest in layers_of(output):
        target = output / "blobs" / digest.replace(":", "/")
        if not target.exists() and previous is not None:
            shutil.copy(previous / "blobs" / digest.replace(":", "/"), target)
    (output / "org.rechunk.sparse.json").unlink(missing_ok=True)
    return output


def measure(folder: Path, old: Path, images: tuple[Path, Path], options: BuildOptions, updates: int) -> str:
    """Return the three columns of a series."""
    before, sizes, stay = old, [], 0
    for number in range(updates + 1):
        after = split(images[(number + 1) % 2], before, folder / str(number), options)
        had, has = layers_of(before), layers_of(after)
        sizes.append(sum(size for digest, size in has.items() if digest not in had))
        stay = stay or len(had.keys() & has.keys())
        if before != old:
            shutil.rmtree(before)
        before = after
    shutil.rmtree(before)
    return f"{stay:>6} {sizes[0] / 1e6:>8.1f} {sum(sizes[1:]) / 1e6:>8.1f}"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max-layers", type=int, default=64)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=plain.KINDS, default=plain.KINDS)
    given = parser.parse_args()
    options = BuildOptions(max_layers=given.max_layers, compression=Compression.parse("gzip", 1))
    print(f"{'image':<8} {'other tool':<14} {'adopt':<6} {'stay':>6} {'first':>8} {'then':>8}")
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            images = [layout(folder / f"image{n}", (plain.image(kind, n).whole,)) for n in range(2)]
            others = {
                "plain build": layout(folder / "plain", plain.image(kind, 0).layers),
                "by package": split(
                    images[0],
                    None,
                    folder / "packages",
                    replace(options, record=False, max_layers=given.max_layers * 3 // 4),
                ),
            }
            for other, old in others.items():
                for adopt in (True, False):
                    chosen = replace(options, adopt=adopt)
                    work = folder / "series"
                    work.mkdir(exist_ok=True)
                    row = measure(work, old, (images[0], images[1]), chosen, given.updates)
                    print(f"{kind:<8} {other:<14} {'yes' if adopt else 'no':<6} {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
