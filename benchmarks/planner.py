"""The planner on images of very many components: time and memory.

    python benchmarks/planner.py [COUNT …] [--layers 64,128,400] [--releases 0,1,20]

Each plan is made in a process of its own. Memory is the most that this process held at any time, the
interpreter and numpy (some 40 MB) included, the components and their Ledger are in it, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rechunk_podman.planning.plan import plan
from support.crowds import Crowd, recorded

LIMIT = 8 << 30
"""Bytes of address space of a process that plans."""


def measure(count: int, max_layers: int, releases: int) -> tuple[float, int, int]:
    """Return (processor seconds, peak MiB, MiB before the plan) of one plan."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    crowd = Crowd(count)
    previous = recorded(crowd, releases, max_layers) if releases else None
    crowd.advance(come_and_go=0.002)
    image = crowd.image()
    before = most_memory()
    started = time.process_time()
    plan(image, previous, max_layers=max_layers, now=crowd.now)
    seconds = time.process_time() - started
    return seconds, most_memory(), before


def most_memory() -> int:
    """Return the most MiB that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="*", type=int, default=[1_000, 3_000, 5_000, 20_000, 100_000])
    parser.add_argument("--layers", default="64,128,400")
    parser.add_argument("--releases", default="0,1,20")
    arguments = parser.parse_args()
    print("components  layers  releases  processor s  peak MiB  before MiB")
    context = multiprocessing.get_context("spawn")
    for count in arguments.count:
        for max_layers in map(int, arguments.layers.split(",")):
            for releases in map(int, arguments.releases.split(",")):
                with context.Pool(1) as pool:
                    try:
                        seconds, peak, before = pool.apply(measure, (count, max_layers, releases))
                        cells = f"{seconds:11.2f}  {peak:8}  {before:10}"
                    except MemoryError:
                        cells = f"more than {LIMIT >> 30} GiB of memory"
                print(f"{count:10}  {max_layers:6}  {releases:8}  {cells}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
