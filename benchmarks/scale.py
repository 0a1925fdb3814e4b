"""Growth of the time and memory of `build` with the number of files, on trees of files of no package.

    python benchmarks/scale.py [--files 30000,300000,3000000] [--runs 3] [--plan-only] [--write]

For each number of files (small ones, in directories of a hundred; trees.many_files() makes them once and
keeps them): the wall time, the processor time and the peak resident set of the process (getrusage(2); it has
no children), the least of the runs. Of each the start of the program, measured on an empty tree, is
subtracted, and the rest divided by the number of files. Goal: no tree takes more for a file than 1.25 times
what the smallest one takes; 60,000 files at most 70 MiB in all, 300,000 at most 150, 3,000,000 at most 1,024.

--write puts the figures into the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trees
from figures import write_figures

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- scale figures: begin -->\n", "<!-- scale figures: end -->\n"
MIB = 1 << 20
GROWTH = 1.25
MOST = {60_000: 70, 300_000: 150, 3_000_000: 1024}
"""Files -> MiB."""


@dataclass(frozen=True)
class Cost:
    """The cost of a build: seconds of wall time and of all processors, and bytes of memory at the peak."""

    wall: float
    processor: float
    memory: float


def measure(tree: Path, folder: Path, *, plan_only: bool) -> Cost:
    """Build once, into a layout that is removed."""
    output = ["--plan-only"] if plan_only else ["--output", f"oci:{folder}/image"]
    command = [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", str(tree), "--config-str", "{}"]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [*command, *output], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit("the build failed")
    shutil.rmtree(folder / "image", ignore_errors=True)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def least(costs: list[Cost]) -> Cost:
    """Return the least of each."""
    return Cost(
        min(cost.wall for cost in costs),
        min(cost.processor for cost in costs),
        min(cost.memory for cost in costs),
    )


def table(costs: dict[int, Cost], start: Cost) -> str:
    """Return the figures as they stand in the document."""
    lines = [
        "| files | time | a file | processors | a file | memory | a file | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first: tuple[float, float, float] | None = None
    for files, cost in costs.items():
        each = (
            (cost.wall - start.wall) / files,
            (cost.processor - start.processor) / files,
            (cost.memory - start.memory) / files,
        )
        first = first or each
        grown = any(now > GROWTH * then for now, then in zip(each, first, strict=True))
        good = not grown and cost.memory <= MOST.get(files, cost.memory) * MIB
        lines.append(
            f"| {files:,} | {cost.wall:.2f} s | {each[0] * 1e6:.1f} µs | {cost.processor:.2f} s "
            f"| {each[1] * 1e6:.1f} µs | {cost.memory / MIB:.0f} MiB | {each[2]:.0f} B "
            f"| {'met' if good else '**missed**'} |"
        )
    return (
        f"The start of the program: {start.wall:.2f} s, {start.memory / MIB:.0f} MiB.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", default="30000,60000,300000,3000000", help="numbers of files")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--plan-only", action="store_true", help="write no image")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:  # noqa: S108
        folder = Path(name)
        (folder / "empty").mkdir()

        def run(tree: Path) -> Cost:
            return least(
                [measure(tree, folder, plan_only=options.plan_only) for _ in range(options.runs + 1)]
            )

        start = run(folder / "empty")
        costs = {files: run(trees.many_files(files)) for files in map(int, options.files.split(","))}
    text = table(costs, start)
    print(text)
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
