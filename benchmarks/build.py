"""Compare `rechunk-podman build` with one hashing of the same files: time and memory.

    python benchmarks/build.py [--tree DIR] [--runs 3] [--threads N] [--files 300000] [--write]

Speed: `rechunk-podman build` (all of it: scan, components, plan, layers, an OCI archive on disk) against
`tar -cf - ROOT | openssl sha256`, both on the warm cache, taking turns; medians of the runs and their
ratio. Goal: at most 1.0. Byte code is compiled before, as pip does for whoever installs the package.

Memory: peak while an image of many files is built. `process` is the largest resident set of any one
process, as getrusage(2) tells it; `sum` is the largest sum of proportional set sizes (each page shared by n
processes counts an n-th in each) over all processes of the build, looked at every 50 ms. Goal: a sum of
at most 256 MiB.

--write puts the figures into the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rechunk_podman
import trees

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
MIB = 1 << 20
GOAL_RATIO, GOAL_MEMORY = 1.0, 256


@dataclass(frozen=True)
class Speed:
    """Seconds of each run, in turns."""

    files: int
    bytes: int
    baseline: list[float]
    build: list[float]

    @property
    def ratio(self) -> float:
        """Median of `build` to median of the baseline."""
        return statistics.median(self.build) / statistics.median(self.baseline)


@dataclass(frozen=True)
class Memory:
    """MiB at the peak."""

    files: int
    process: float
    total: float


def command(tree: Path, archive: Path, threads: int) -> list[str]:
    """The build that is measured."""
    words = [
        sys.executable,
        "-m",
        "rechunk_podman",
        "build",
        "--rootfs",
        str(tree),
        "--threads",
        str(threads),
    ]
    return [*words, "--output", f"oci-archive:{archive}", "--config-str", "{}"]


def content(tree: Path) -> tuple[int, int]:
    """Paths below `tree`, and bytes of its regular files."""
    paths = size = 0
    for folder, directories, files in os.walk(tree):
        paths += len(directories) + len(files)
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            size += status.st_size
    return paths, size


def hash_once(tree: Path) -> float:
    """Seconds of `tar -cf - ROOT | openssl sha256`."""
    started = time.perf_counter()
    with subprocess.Popen(
        ["tar", "-cf", "-", tree], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        subprocess.run(["openssl", "sha256"], stdin=reader.stdout, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def build_once(tree: Path, folder: Path, threads: int) -> float:
    """Seconds of one build; its archive is removed, out of the clock's sight."""
    archive = folder / "image.ociarchive"
    started = time.perf_counter()
    subprocess.run(command(tree, archive, threads), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    archive.unlink()
    return seconds


def measure_speed(tree: Path, folder: Path, threads: int, runs: int) -> Speed:
    """The medians need an odd number of runs, three at least; one of each before warms the cache."""
    compileall.compile_dir(Path(rechunk_podman.__file__).parent, quiet=1)
    hash_once(tree)
    build_once(tree, folder, threads)
    baseline, build = [], []
    for number in range(runs):
        baseline.append(hash_once(tree))
        build.append(build_once(tree, folder, threads))
        print(f"run {number + 1}: tar | openssl {baseline[-1]:.2f} s, build {build[-1]:.2f} s", flush=True)
    return Speed(*content(tree), baseline, build)


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            found.extend(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))
    return found


def proportional(pid: int) -> int:
    """The proportional set size of one process, in KiB; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def measure_memory(tree: Path, folder: Path, threads: int) -> Memory:
    """Builds once and looks at it from outside."""
    archive = folder / "image.ociarchive"
    total = 0
    pid = os.posix_spawn(sys.executable, command(tree, archive, threads), os.environ)
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        total = max(total, sum(map(proportional, descendants(pid))))
        time.sleep(0.05)
    if status:
        raise SystemExit("the build failed")
    archive.unlink()
    return Memory(content(tree)[0], usage.ru_maxrss * 1024 / MIB, total * 1024 / MIB)


def verdict(good: bool) -> str:
    """Return the word for a goal that is met or missed."""
    return "met" if good else "**missed**"


def table(speed: Speed, memory: Memory, threads: int) -> str:
    """The figures as they stand in the document."""
    shape = f"{speed.bytes / 1e9:.1f} GB, {speed.files:,} paths"
    baseline, build = statistics.median(speed.baseline), statistics.median(speed.build)
    return (
        f"Measured on {os.cpu_count()} cores ({platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}), "
        f"{threads} threads, {len(speed.build)} runs in turns.\n\n"
        "| what | tree | value | goal | |\n|---|---|---|---|---|\n"
        f"| `tar -cf - ROOT \\| openssl sha256` | {shape} | {baseline:.2f} s | | |\n"
        f"| `rechunk-podman build` | {shape} | {build:.2f} s | | |\n"
        f"| ratio | | {speed.ratio:.2f} | ≤ {GOAL_RATIO} | {verdict(speed.ratio <= GOAL_RATIO)} |\n"
        f"| peak memory, largest process | {memory.files:,} paths | {memory.process:.0f} MiB | | |\n"
        f"| peak memory, sum over processes | {memory.files:,} paths | {memory.total:.0f} MiB "
        f"| ≤ {GOAL_MEMORY} MiB | {verdict(memory.total <= GOAL_MEMORY)} |\n"
    )


def main() -> int:
    """Measures, prints, and with --write keeps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", type=Path, help="a root filesystem of at least 1 GB and 50,000 files")
    parser.add_argument("--files", type=int, default=300_000, help="of the tree that memory is measured on")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    tree = options.tree or trees.debian()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:  # noqa: S108
        memory = measure_memory(trees.many_files(options.files), Path(name), options.threads)
        speed = measure_speed(tree, Path(name), options.threads, options.runs)
    text = table(speed, memory, options.threads)
    print(text)
    if options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(before + BEGIN + text + END + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
