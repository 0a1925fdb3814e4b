"""Compare `rechunk-podman split --push` with building, loading and pushing with compression.

    python benchmarks/push.py [--runs 1] [--max-layers 64] [--write]

The image is the tree of benchmarks/trees.py, Debian as released; its update has the same packages with all
of Debian's security and stable updates. Each run does, one after the other, each into a registry of its own
on loopback:

(a) of the update: `rechunk-podman build` of the mounted image, `podman load`, `podman push
    --compression-format zstd`, as on a machine that has pushed nothing before;
(b) of the image: `rechunk-podman split --push`, first time;
(c) of the update: `rechunk-podman split --push` with what (b) pushed as the previous image, known by its
    state file;
(d) (c) once more with --verify-previous: the blobs to be reused are fetched and hashed first;
(e) as (c), of a small update: the image as released with the security updates of three source packages, as
    most weeks bring them.

Seconds: wall time, medians over the runs. Of processors: what all commands used, without the registry; on a
machine that other work shares it is the steadier figure. Uploaded: bytes that the registry's blob store grew
by; (e) finds some of (c)'s blobs there. Extra disk: the most that the file system of storage and temporary
files, an ext4 of its own, held beyond what it held before. Goals: (b) takes at most 0.22 of (a) in
time, (c) 0.10, and 1.1 times the changed layers, compressed, in bytes and disk.

--write puts the figures into the table of docs/performance.md. Needs root, and 20 GB in TMPDIR (or /var/tmp).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trees
from figures import write_figures
from images.cache import cached, call, need, pack
from images.debian import MIRROR, SECURITY_MIRROR, SUITE, bootstrap
from images.storage import import_tar
from support import tools

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- push figures: begin -->\n", "<!-- push figures: end -->\n"
WEEKLY = "openssl libssl3 libssl-dev libexpat1 libexpat1-dev libpng16-16"
"""Packages of the small update that it replaces if installed: those of openssl, expat and libpng."""

IMAGE, UPDATE = "localhost/benchmark:release", "localhost/benchmark:updated"
SMALL = "localhost/benchmark:weekly"
GOAL_UPDATE, GOAL_FIRST, GOAL_BYTES = 0.10, 0.22, 1.1


def updated() -> Path:
    """The tree of trees.debian() with all updates, built once and kept."""

    def build(folder: Path) -> None:
        need("mmdebstrap")
        sources = [
            f"deb {MIRROR} {SUITE} main",
            f"deb {MIRROR} {SUITE}-updates main",
            f"deb {SECURITY_MIRROR} {SUITE}-security main",
        ]
        bootstrap(folder / "root", SUITE, (trees.PACKAGES,), sources)

    return cached("benchmark-updated", "1", build) / "root"


def weekly() -> Path:
    """The tree of trees.debian() with the security updates of three source packages, built once and kept."""

    def build(folder: Path) -> None:
        need("mmdebstrap")
        pins = "".join(
            f"Package: {names}\nPin: release l=Debian-Security\nPin-Priority: {priority}\n\n"
            for names, priority in (("*", 100), (WEEKLY, 990))
        )
        (folder / "pins").write_text(pins)
        there = '"$1/etc/apt/preferences.d/pins"'
        call(
            "mmdebstrap",
            "--variant=minbase",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Retries "3"',
            f"--include={trees.PACKAGES}",
            f"--setup-hook=mkdir -p $(dirname {there}); cp {folder}/pins {there}",
            f"--customize-hook=rm {there}",
            "--format=directory",
            SUITE,
            folder / "root",
            f"deb {MIRROR} {SUITE} main",
            f"deb {SECURITY_MIRROR} {SUITE}-security main",
        )

    return cached("benchmark-weekly", "1", build) / "root"


@dataclass
class Disk:
    """The fullest that a file system was, in bytes, watched every 20 ms by a thread."""

    place: Path
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def used(self) -> int:
        """Bytes in use now."""
        status = os.statvfs(self.place)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def watch(self) -> None:
        """Looks until it is over."""
        while not self.over.wait(0.02):
            self.most = max(self.most, self.used())


@dataclass(frozen=True)
class Taken:
    """The cost of one way: seconds; bytes uploaded; bytes of extra disk at the peak; processor seconds."""

    seconds: float
    uploaded: int
    disk: int
    processor: float


@dataclass(frozen=True)
class Bench:
    """The storage and registry of the measurements. folder: on the file system that is watched."""

    folder: Path
    env: dict[str, str]
    max_layers: str

    def run(self, *command: str | Path) -> str:
        """Runs a command with this storage; what it says on stderr is ours."""
        words = [os.fspath(word) for word in command]
        done = subprocess.run(
            words, env={**os.environ, **self.env}, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    def rechunk(self, *arguments: str | Path) -> str:
        """Runs rechunk-podman."""
        return self.run(*tools.RECHUNK, *arguments)

    def measured(self, registry: tools.Registry, work: Callable[[], None]) -> Taken:
        """Does it, and looks at what it takes."""
        self.run("sync", "--file-system", self.folder)
        disk = Disk(self.folder)
        before, stored, busy = disk.used(), stored_in(registry), processor_time()
        watcher = threading.Thread(target=disk.watch)
        watcher.start()
        started = time.perf_counter()
        try:
            work()
        finally:
            seconds = time.perf_counter() - started
            disk.over.set()
            watcher.join()
        uploaded, extra = stored_in(registry) - stored, disk.most - before
        return Taken(seconds, uploaded, extra, processor_time() - busy)

    def today(self, registry: tools.Registry) -> None:
        """(a): three steps; each layer is compressed at the push."""
        archive, config = self.folder / "tmp/image.oci-archive", self.folder / "tmp/config.json"
        name = f"{registry.address}/today:latest"
        config.write_text(self.run("podman", "image", "inspect", UPDATE))
        root = self.run("podman", "image", "mount", UPDATE).strip()
        output = ("--output", f"oci-archive:{archive}", "--tag", name)
        self.rechunk(
            "build", "--rootfs", root, "--config", config, "--max-layers", self.max_layers, *output, "--fresh"
        )
        self.run("podman", "image", "unmount", UPDATE)
        self.run("podman", "load", "--quiet", "--input", archive)
        push = ("podman", "push", "--quiet", "--tls-verify=false", "--compression-format", "zstd")
        self.run(*push, name)

    def forget(self, registry: tools.Registry) -> None:
        """Removes what (a) left."""
        self.run("podman", "rmi", f"{registry.address}/today:latest")
        (self.folder / "tmp/image.oci-archive").unlink()

    def split(self, image: str, target: str, *options: str | Path) -> dict[str, Any]:
        """(b), (c), (d): what `split --push --json` says."""
        words = ("split", image, "--tls-verify=false", "--max-layers", self.max_layers, f"--push={target}")
        found = json.loads(self.rechunk(*words, "--json", *options))
        assert isinstance(found, dict)
        return found


def processor_time() -> float:
    """Seconds of all commands that have ended (that of the registry, which still runs, is not among them)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stored_in(registry: tools.Registry) -> int:
    """Bytes of all blobs that a registry holds."""
    blobs = registry.log.parent / "content/docker/registry/v2/blobs"
    return sum(path.stat().st_size for path in blobs.glob("sha256/*/*/data"))


@contextlib.contextmanager
def file_system(folder: Path, size: str) -> Iterator[Path]:
    """An ext4 of its own in a sparse file, mounted; nothing of it stays."""
    image, place = folder / "ext4.img", folder / "fs"
    place.mkdir()
    call("truncate", "--size", size, image)
    call("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", "-m", "0", image)
    call("mount", "-o", "loop,noatime,discard", image, place)
    try:
        yield place
    finally:
        call("umount", "--recursive", "--lazy", place)
        image.unlink()


def import_tree(bench: Bench, tree: Path, name: str, folder: Path) -> None:
    """An image of one layer from a directory."""
    archive = folder / "tree.tar"
    pack(tree, archive)
    import_tar(archive, name, env=bench.env, config={"Cmd": ["/bin/sh"]})
    archive.unlink()


Said = dict[str, dict[str, Any]]
"""The output of `split --push --json` for each way."""


def one_run(bench: Bench, folder: Path, number: int) -> tuple[dict[str, Taken], Said]:
    """(a) to (e), and what split said of (c) and (e)."""
    taken: dict[str, Taken] = {}
    said: Said = {}
    with (
        tools.loopback_registry(folder / f"today-{number}") as old,
        tools.loopback_registry(folder / f"push-{number}") as new,
    ):
        taken["a"] = bench.measured(old, lambda: bench.today(old))
        bench.forget(old)
        state = folder / f"state-{number}.json"
        target = f"docker://{new.address}/benchmark"
        known = ("--state", state)
        taken["b"] = bench.measured(new, lambda: void(bench.split(IMAGE, f"{target}:latest", *known)))
        previous = f"--previous={target}:latest"
        options = (previous, *known)

        def update(way: str, image: str) -> None:
            said[way] = bench.split(image, f"{target}:{way}", *options)

        taken["c"] = bench.measured(new, lambda: update("c", UPDATE))
        lacking = (previous, "--verify-previous")
        # Nothing is left to upload by now: this says what the verification takes.
        taken["d"] = bench.measured(new, lambda: void(bench.split(UPDATE, f"{target}:d", *lacking)))
        taken["e"] = bench.measured(new, lambda: update("e", SMALL))
    for way, found in taken.items():
        print(f"run {number + 1} ({way}): {found}", flush=True)
    return taken, said


def void(_: object) -> None:
    """Takes what is not needed."""


def verdict(good: bool) -> str:
    """Return the word for a goal that is met or missed."""
    return "met" if good else "**missed**"


def changed(said: dict[str, Any]) -> str:
    """Return the number of layers that an update changed, and their bytes."""
    fresh = sum(not layer["reused"] for layer in said["layers"])
    return f"{fresh} of {len(said['layers'])} layers, {said['new'] / 1e6:,.1f} MB compressed"


def table(runs: list[dict[str, Taken]], said: Said, size: int, where: str) -> str:
    """The figures as they stand in the document."""
    mid = {
        way: Taken(
            statistics.median(run[way].seconds for run in runs),
            round(statistics.median(run[way].uploaded for run in runs)),
            round(statistics.median(run[way].disk for run in runs)),
            statistics.median(run[way].processor for run in runs),
        )
        for way in "abcde"
    }
    new = said["c"]["new"]
    ratio, first = (statistics.median(run[way].seconds / run["a"].seconds for run in runs) for way in "cb")
    sent, disk = mid["c"].uploaded / new, mid["c"].disk / new
    names = {
        "a": "(a) `build`, `podman load`, `podman push --compression-format zstd`",
        "b": "(b) `split --push`, first time",
        "c": "(c) `split --push` of the update, `--previous`, `--state`",
        "d": "(d) the same with `--verify-previous`, nothing left to upload",
        "e": "(e) as (c), of the small update",
    }
    rows = "".join(
        f"| {names[way]} | {mid[way].seconds:.1f} s | {mid[way].processor:.1f} s "
        f"| {mid[way].uploaded / 1e6:,.1f} MB | {mid[way].disk / 1e6:,.1f} MB |\n"
        for way in "abcde"
    )
    times = "one run" if len(runs) == 1 else f"medians of {len(runs)} runs"
    return (
        f"An image of {size / 1e9:.1f} GB and its update, on {os.cpu_count()} cores ({platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, {where}); {times} of (a) to (e) in turns. "
        f"The update changed {changed(said['c'])}; the small one {changed(said['e'])}.\n\n"
        f"| what | time | of processors | uploaded | extra disk |\n|---|---|---|---|---|\n{rows}\n"
        "| ratio | value | goal | |\n|---|---|---|---|\n"
        f"| time, (b) / (a) | {first:.2f} | ≤ {GOAL_FIRST} | {verdict(first <= GOAL_FIRST)} |\n"
        f"| time, (c) / (a) | {ratio:.2f} | ≤ {GOAL_UPDATE} | {verdict(ratio <= GOAL_UPDATE)} |\n"
        f"| (c), uploaded: changed layers | {sent:.2f} | ≤ {GOAL_BYTES} | {verdict(sent <= GOAL_BYTES)} |\n"
        f"| (c), extra disk: changed layers | {disk:.2f} | ≤ {GOAL_BYTES} | {verdict(disk <= GOAL_BYTES)} |\n"
    )


def main() -> int:
    """Measures, prints, and with --write keeps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--max-layers", default="64", metavar="N|PROFILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    images = ((trees.debian(), IMAGE), (updated(), UPDATE), (weekly(), SMALL))
    runs: list[dict[str, Taken]] = []
    said: Said = {}
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name,  # noqa: S108
        file_system(Path(name), "40G") as place,
    ):
        env = tools.storage_files(place, "overlay")
        (place / "tmp").mkdir()
        bench = Bench(place, {**env, "TMPDIR": str(place / "tmp")}, options.max_layers)
        try:
            for tree, target in images:
                import_tree(bench, tree, target, Path(name))
            size = int(json.loads(bench.run("podman", "image", "inspect", UPDATE))[0]["Size"])
            for number in range(options.runs):
                taken, said = one_run(bench, Path(name), number)
                runs.append(taken)
        finally:
            subprocess.run(
                ["umount", "--lazy", place / "graph/overlay"], check=False, stderr=subprocess.DEVNULL
            )
    text = table(runs, said, size, "ext4 on a loop device, registry on loopback")
    print(text)
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
