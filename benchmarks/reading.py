"""Time and memory of `lint` and `verify` beside programs that only read and hash.

    python benchmarks/reading.py [--runs 5] [--write]

The Debian tree (trees.debian()) is built into two layouts, the second with a few files changed and added and
with another number of layers, so that the layouts share hardly any layer. On the warm cache, in turns:

* `cat BLOBS | openssl sha256` of both layouts at once, which reads and hashes the same layers;
* `lint` of the first layout;
* `verify` of both, whose verdict is checked.

Figures are medians over the runs, and the smallest and largest: wall time, and processor time and the peak
resident set of the process (wait4(2)). Byte code is compiled before. Goals: `lint` takes at most 6 s for
139,000 paths, so in proportion for those of the tree; `verify` at most 1.2 times the wall time of cat and
openssl.

--write puts the figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rechunk_podman
import trees
from figures import write_figures
from rechunk_podman.units import human_size

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- reading figures: begin -->\n", "<!-- reading figures: end -->\n"
LINT_SECONDS, LINT_PATHS, VERIFY = 6, 139_000, 1.2
CHANGED = ("usr/bin/git", "usr/bin/perl", "usr/lib/os-release", "usr/share/added/1", "usr/share/added/2")
MIB = 1 << 20

Taken = tuple[float, float, float]
"""Seconds of wall time, seconds of all processors, MiB at the peak."""


def build(root: Path, layout: Path, layers: int) -> None:
    """Build a layout."""
    options = ["--rootfs", str(root), "--config-str", "{}", "--max-layers", str(layers)]
    command = [sys.executable, "-m", "rechunk_podman", "build", *options, "--output", f"oci:{layout}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def changed_copy(root: Path, copy: Path) -> None:
    """Make a copy of a tree, whose unchanged files are hard links to those of the tree."""
    subprocess.run(["cp", "-al", root, copy], check=True)
    for name in CHANGED:
        path = copy / name
        data = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data + b"changed\n")


def hash_layouts(layouts: list[Path]) -> Taken:
    """Read and hash the blobs of the layouts, each by a cat and an openssl, all at once."""
    started = time.perf_counter()
    running = []
    for layout in layouts:
        blobs = sorted((layout / "blobs/sha256").iterdir())
        cat = subprocess.Popen(["cat", *blobs], stdout=subprocess.PIPE)
        openssl = ["openssl", "sha256"]
        running += [cat, subprocess.Popen(openssl, stdin=cat.stdout, stdout=subprocess.DEVNULL)]
    used = [os.wait4(process.pid, 0)[2] for process in running]
    wall = time.perf_counter() - started
    return (
        wall,
        sum(usage.ru_utime + usage.ru_stime for usage in used),
        max(usage.ru_maxrss for usage in used) / 1024,
    )


def measure(*words: str, output: Path) -> Taken:
    """Run a command of rechunk-podman, whose JSON goes to a file."""
    arguments = [sys.executable, "-m", "rechunk_podman", *words, "--json"]
    into = [(os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)]
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=into)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{words[0]} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cells(runs: list[Taken]) -> str:
    """Return the cells of a row."""
    columns = list(zip(*runs, strict=True))
    texts = [
        f"{statistics.median(values):.{digits}f}{unit} ({min(values):.{digits}f}–{max(values):.{digits}f})"
        for values, digits, unit in zip(columns, (2, 2, 0), (" s", " s", " MiB"), strict=True)
    ]
    return " | ".join(texts)


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    compileall.compile_dir(Path(rechunk_podman.__file__).parent, quiet=1)
    root = trees.debian()
    runs: dict[str, list[Taken]] = {"cat, openssl": [], "lint": [], "verify": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:  # noqa: S108
        one, two, output = Path(name, "one"), Path(name, "two"), Path(name, "output")
        # beside the tree: hard links stay on its file system
        with tempfile.TemporaryDirectory(dir=root.parent) as beside:
            changed_copy(root, Path(beside, "root"))
            build(root, one, 64)
            build(Path(beside, "root"), two, 40)
        size = sum(blob.stat().st_size for blob in (one / "blobs/sha256").iterdir())
        for _ in range(options.runs + 1):
            runs["cat, openssl"].append(hash_layouts([one, two]))
            runs["lint"].append(measure("lint", f"oci:{one}", output=output))
            runs["verify"].append(measure("verify", f"oci:{one}", f"oci:{two}", output=output))
            found = json.loads(output.read_text())
            differing = {entry["path"] for entry in found["differences"]}
            if not differing >= set(CHANGED) or found["counts"].get("content") != 3:
                raise SystemExit(f"a wrong verdict: {found['counts']}")
        shutil.rmtree(one)
    paths = found["paths"]
    medians = {what: statistics.median(wall for wall, *_ in taken[1:]) for what, taken in runs.items()}
    goal = LINT_SECONDS * paths / LINT_PATHS
    ratio = medians["verify"] / medians["cat, openssl"]
    lines = [
        f"A layout of {human_size(size)}, {paths:,} paths, and another one of hardly any common layer; "
        f"{len(os.sched_getaffinity(0))} cores, medians of {options.runs} runs in turns.",
        "",
        "| what | wall time | processor time | memory |",
        "|---|---|---|---|",
        *(f"| {what} | {cells(taken[1:])} |" for what, taken in runs.items()),
        "",
        "| figure | value | goal | |",
        "|---|---|---|---|",
        f"| lint, wall | {medians['lint']:.2f} s | ≤ {goal:.1f} s "
        f"| {'met' if medians['lint'] <= goal else '**missed**'} |",
        f"| verify / cat, openssl, wall | {ratio:.2f} | ≤ {VERIFY} "
        f"| {'met' if ratio <= VERIFY else '**missed**'} |",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
