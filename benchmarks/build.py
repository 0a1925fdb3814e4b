"""Time and memory of `rechunk-podman build` beside a program that only hashes and writes, and beside chunkah.

    python benchmarks/build.py [--chunkah PROGRAM] [--runs 7] [--trees NAME,…] [--threads N] [--write]

On each tree of benchmarks/trees.py (application, rpm, debian, many), on the warm cache, in turns:

* `tar -cf - ROOT | tee FILE | openssl sha256`, which reads, writes and hashes the same bytes;
* `rechunk-podman build` into an OCI layout, and into an OCI archive;
* with --chunkah: `PROGRAM build`, of chunkah, into the same two forms. Its source is
  https://github.com/coreos/chunkah; 0.6.0 was measured.

Figures are medians over the runs, and the smallest and largest: wall time; processor time, of user and
system, from wait4(2), with all children; memory, the largest resident set of a process. Byte code is compiled
before, as pip does. Outputs go to TMPDIR (or /var/tmp), on the file system that the figures name; each is
removed, and written data is flushed, outside the measured time.

Goals: an archive takes at most 1.05 of a layout; both at most 0.75 of `tar | tee | openssl`; beside chunkah
wall time at most 0.6, processor time 0.75, memory 1.5.

--write puts the figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import rechunk_podman
import trees
from figures import write_figures
from rechunk_podman.units import human_size

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def many_files() -> Path:
    """A tree of 300,000 small files, one of them in a component: chunkah refuses trees without any."""
    tree = trees.many_files(300_000)
    os.setxattr(next(tree.rglob("*.txt")), "user.component", b"collection")
    return tree


TREES: dict[str, Callable[[], Path]] = {
    "application": trees.application,
    "rpm": trees.rpms,
    "debian": trees.debian,
    "many": many_files,
}
TAR, LAYOUT, ARCHIVE = "tar, tee, openssl", "layout", "archive"
GOAL_ARCHIVE, GOAL_TAR = 1.05, 0.75
GOAL_WALL, GOAL_PROCESSOR, GOAL_MEMORY = 0.6, 0.75, 1.5


@dataclass(frozen=True)
class Taken:
    """The cost of a run.

    wall: seconds.
    processor: seconds of all processors.
    memory: MiB at the peak.
    """

    wall: float
    processor: float
    memory: float


Runs = dict[str, list[Taken]]
"""Name of a command -> the costs of its runs."""


def commands(tree: Path, output: Path, threads: int, chunkah: Path | None) -> dict[str, list[str]]:
    """The commands that take turns; each writes to `output`."""
    hashing = 'tar -cf - "$1" | tee "$2" | openssl sha256'
    found = {TAR: ["sh", "-c", hashing, "sh", str(tree), str(output)]}
    ours = [sys.executable, "-m", "rechunk_podman", "build", "--threads", str(threads)]
    for kind, name in (("oci", LAYOUT), ("oci-archive", ARCHIVE)):
        words = ["--rootfs", str(tree), "--output", f"{kind}:{output}", "--config-str", "{}"]
        found[name] = [*ours, *words]
        if chunkah is not None:
            found[f"chunkah, {name}"] = [str(chunkah), "build", *words]
    return found


def measured(command: list[str], output: Path) -> Taken:
    """Run a command; remove what it wrote."""
    with open(os.devnull, "wb") as nowhere:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"failed with status {process.returncode}: {' '.join(command)}")
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink()
    subprocess.run(["sync", "--file-system", output.parent], check=True)
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(tree: Path, folder: Path, threads: int, runs: int, chunkah: Path | None) -> Runs:
    """Run everything once to warm the cache, then `runs` times in turns."""
    output = folder / "output"
    turns = commands(tree, output, threads, chunkah)
    found: Runs = {name: [] for name in turns}
    for number in range(runs + 1):
        for name, command in turns.items():
            taken = measured(command, output)
            if number:
                found[name].append(taken)
                print(f"{tree.parent.name}, run {number}, {name}: {taken}", flush=True)
    return found


def median(runs: Runs, name: str, field: str) -> float:
    """The median of a field over the runs of a command."""
    return statistics.median(values_of(runs, name, field))


def values_of(runs: Runs, name: str, field: str) -> list[float]:
    """The values of a field (wall, processor or memory) of each run of a command."""
    return [
        {"wall": taken.wall, "processor": taken.processor, "memory": taken.memory}[field]
        for taken in runs[name]
    ]


def content(tree: Path) -> tuple[int, int]:
    """Paths below `tree`, and bytes of its regular files."""
    paths = size = 0
    for folder, directories, files in os.walk(tree):
        paths += len(directories) + len(files)
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return paths, size


def file_system(folder: Path) -> str:
    """The type of the file system that holds a folder."""
    done = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", folder], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def row(runs: Runs, name: str) -> str:
    """The figures of one command, as a row of the table."""
    cells = [name]
    for field, digits, unit in (("wall", 2, "s"), ("processor", 2, "s"), ("memory", 0, "MiB")):
        values = values_of(runs, name, field)
        spread = f"{min(values):.{digits}f}–{max(values):.{digits}f}"
        cells.append(f"{statistics.median(values):.{digits}f} {unit} ({spread})")
    return f"| {' | '.join(cells)} |\n"


def goals(runs: Runs) -> str:
    """The ratios beside their goals, as a table."""
    ratios = [(f"{ARCHIVE} / {LAYOUT}, wall", ratio(runs, ARCHIVE, LAYOUT, "wall"), GOAL_ARCHIVE)]
    for name in (LAYOUT, ARCHIVE):
        ratios.append((f"{name} / {TAR}, wall", ratio(runs, name, TAR, "wall"), GOAL_TAR))
        other = f"chunkah, {name}"
        for field, goal in (("wall", GOAL_WALL), ("processor", GOAL_PROCESSOR), ("memory", GOAL_MEMORY)):
            if other in runs:
                ratios.append((f"{name} / {other}, {field}", ratio(runs, name, other, field), goal))
    rows = [
        f"| {what} | {value:.2f} | ≤ {goal} | {'met' if value <= goal else '**missed**'} |\n"
        for what, value, goal in ratios
    ]
    return "| ratio | value | goal | |\n|---|---|---|---|\n" + "".join(rows)


def ratio(runs: Runs, name: str, other: str, field: str) -> float:
    """The median of one command to that of another."""
    return median(runs, name, field) / median(runs, other, field)


def main() -> int:
    """Measure, print, and with --write keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunkah", type=Path, metavar="PROGRAM", help="chunkah's program")
    parser.add_argument("--trees", default=",".join(TREES), help="names, between commas")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    compileall.compile_dir(Path(rechunk_podman.__file__).parent, quiet=1)
    roots = {name: TREES[name]() for name in options.trees.split(",")}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:  # noqa: S108
        place = Path(name)
        text = (
            f"{os.cpu_count()} cores ({platform.machine()}), Linux {platform.release().split('-')[0]}, "
            f"{file_system(place)}, Python {platform.python_version()}; {options.threads} threads, "
            f"medians of {options.runs} runs in turns (smallest to largest).\n"
        )
        for name, root in roots.items():
            paths, size = content(root)
            runs = measure(root, place, options.threads, options.runs, options.chunkah)
            head = "| what | wall time | processor time | memory |\n|---|---|---|---|\n"
            rows = "".join(row(runs, what) for what in runs)
            text += f"\n{name}: {human_size(size)}, {paths:,} paths\n\n{head}{rows}\n{goals(runs)}"
    print(text)
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
