"""Compare the updates after a switch from another tool, with its layers adopted and planned anew.

    python benchmarks/adopt.py [--max-layers 64] [--updates 10] [--write]

The image is the Debian server of benchmarks/plain.py as released. Its security and stable updates follow, and
those from backports, an equal number of packages at each update, in the order of their names. The other tool
is a plain build (the layers of benchmarks/plain.py), or a splitter that gives the largest packages a layer
each, in three quarters of the layers that rechunk-podman may have. For both, the first update is split with
that image as the previous one, and once more with --adopt no; then the others follow. A last series began
with rechunk-podman.

Columns: MB that a client of the image before downloads, compressed, at the first update, at each of the ten
after it on average, and at each of the last five; layers that the first update keeps; the share of the bytes
of the image that is in layers of the other tool, after the first update and after the last. Compression is
gzip at level 1, in favour of time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import stat
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import plain
from figures import write_figures
from images import debian
from images.cache import unpack
from rechunk_podman.build.job import Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run
from rechunk_podman.oci.write.compress import Compression
from support.oci_material import Layout

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- adopt figures: begin -->\n", "<!-- adopt figures: end -->\n"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAST = 5
HEAD = (
    "| other tool | its layers | first update | each of the next | each of the last five "
    "| layers kept | foreign bytes, first | last |\n|---|---|---|---|---|---|---|---|\n"
)


def layout(path: Path, layers: tuple[Path, ...]) -> Path:
    """Write an image of these tars, compressed by gzip."""
    made = Layout(path)
    for layer in layers:
        tar = layer.read_bytes()
        made.layer(tar, gzip.compress(tar, 1, mtime=0), GZIP)
    return made.finish()


def by_package(root: Path, folder: Path, count: int) -> tuple[Path, ...]:
    """Write the tars of a splitter by Debian's packages: the largest have a layer each."""
    owners: dict[str, str] = {}
    info = root / "var/lib/dpkg/info"
    for listing in sorted(info.glob("*.list")):
        package = listing.stem
        own = [line.strip("/") for line in listing.read_text().splitlines()]
        own += [str(path.relative_to(root)) for path in info.glob(f"{package}.*")]
        for path in own:
            top = path.partition("/")[0]
            path = f"usr/{path}" if (root / top).is_symlink() else path
            if (root / path).is_symlink() or (root / path).is_file():
                owners.setdefault(path, package)
    sizes: dict[str, int] = defaultdict(int)
    groups: dict[str, set[str]] = defaultdict(set)
    for path, package in owners.items():
        sizes[package] += (root / path).lstat().st_size
    alone = sorted(sizes, key=lambda package: -sizes[package])[: count - 2]
    for path, status in plain.walk(root):
        package = owners.get(path, "")
        if package or not stat.S_ISDIR(status.st_mode):
            name = package if package in alone or not package else "others"
            groups[name].update(plain.with_parents(path))
        else:
            groups[""].add(path)
    folder.mkdir()
    tars = []
    for number, paths in enumerate(groups.values()):
        tars.append(folder / f"{number}.tar")
        plain.pack_paths(root, tars[-1], sorted(paths))
    return tuple(tars)


def layers_of(path: Path) -> dict[str, int]:
    """Return digest -> size of the layers of the one image in a layout."""
    (entry,) = json.loads((path / "index.json").read_bytes())["manifests"]
    manifest: dict[str, Any] = json.loads((path / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def split(root: Path, previous: Path | None, output: Path, options: BuildOptions) -> Path:
    """Split a root filesystem into a layout; add the blobs that only the previous image has."""
    run(
        Job(
            rootfs=str(root),
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
            target.hardlink_to(previous / "blobs" / digest.replace(":", "/"))
    (output / "org.rechunk.sparse.json").unlink(missing_ok=True)
    return output


@dataclass
class Series:
    """Images that follow each other. had: the layers of the other tool. image: the newest."""

    tool: str
    adopt: bool | None
    image: Path
    options: BuildOptions
    had: Mapping[str, int] = field(default_factory=dict)
    downloads: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def update(self, root: Path, output: Path) -> None:
        """Split the root filesystem as the next image; the one before is removed."""
        before, old = self.image, layers_of(self.image)
        self.image = split(root, before, output, self.options)
        has = layers_of(self.image)
        self.downloads.append(sum(size for digest, size in has.items() if digest not in old))
        foreign = [size for digest, size in has.items() if digest in self.had]
        self.kept.append(len(foreign))
        self.shares.append(sum(foreign) / sum(has.values()))
        if self.downloads[1:]:
            shutil.rmtree(before)

    def row(self) -> str:
        """Return the row of the table."""
        first, *others = self.downloads
        last = others[-LAST:]
        sizes = (first, sum(others) / len(others), sum(last) / len(last))
        layers = {None: "", True: "adopted", False: "planned anew"}[self.adopt]
        cells = [self.tool, layers, *(f"{size / 1e6:.1f} MB" for size in sizes)]
        if self.adopt is not None:
            cells += [f"{self.kept[0]} of {len(self.had)}", f"{self.shares[0]:.0%}", f"{self.shares[-1]:.0%}"]
        else:
            cells += ["", "", ""]
        return f"| {' | '.join(cells)} |"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max-layers", type=int, default=64)
    parser.add_argument("--updates", type=int, default=10, help="after the first")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md")
    given = parser.parse_args()
    options = BuildOptions(max_layers=given.max_layers, compression=Compression.parse("gzip", 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "root"
        released = plain.image("debian", 0)
        unpack(released.whole, root)
        packages = by_package(root, folder / "tars", given.max_layers * 3 // 4)
        others = {
            "plain build": layout(folder / "plain", released.layers),
            "by package": layout(folder / "packages", packages),
        }
        shutil.rmtree(folder / "tars")
        series = [
            Series(tool, adopt, image, replace(options, adopt=adopt), layers_of(image))
            for tool, image in others.items()
            for adopt in (True, False)
        ]
        series.append(
            Series("none: rechunk-podman", None, split(root, None, folder / "ours", options), options)
        )
        for step in debian.upgrades(root, given.updates + 1, backports=True):
            for number, one in enumerate(series):
                one.update(root, folder / f"{number}-{step}")
            print(step, *(f"{one.downloads[-1] / 1e6:.1f}" for one in series), file=sys.stderr, flush=True)
        rows = "\n".join(one.row() for one in series)
    text = (
        f"A Debian server of {released.whole.stat().st_size / 1e6:.0f} MB in {given.max_layers} layers, "
        f"{given.updates + 1} updates.\n\n{HEAD}{rows}\n"
    )
    print(text)
    if given.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
