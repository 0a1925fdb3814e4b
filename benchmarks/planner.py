"""The planner on images of very many components: time and memory.

    python benchmarks/planner.py [COUNT …] [--layers 64,128,400] [--releases 0,1,20] [--parts 60]

With --parts so many components have ten parts each, of which three change in each update of the component;
each release is then laid out with the Ledger of the one before.

Each plan is made in a process of its own. Memory is the most that this process held at any time, the
interpreter and numpy (some 40 MB) included, the components and their Ledger are in it, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rechunk_podman.model import Component, Part
from rechunk_podman.planning.layout import lay_out
from rechunk_podman.planning.ledger import Ledger, decode, encode
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


def measure_parts(count: int, max_layers: int, releases: int, divided: int) -> tuple[float, int, int]:
    """Return the same of the layout after so many releases, `divided` components of which have parts."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    crowd = Crowd(count)
    chosen = sorted(crowd.components)[:divided]
    parts = {ident: tuple(Part(f"/{number}", 1 << 20, bytes(8)) for number in range(10)) for ident in chosen}
    seen: dict[object, bytes] = {}
    previous = None
    for release in range(releases + 1):
        image = []
        for component in crowd.image():
            if component.id in parts and seen.get(component.id) != component.fingerprint:
                seen[component.id] = component.fingerprint
                changed = {(release * 3 + number) % 10 for number in range(3)}
                parts[component.id] = tuple(
                    replace(part, fingerprint=component.fingerprint) if number in changed else part
                    for number, part in enumerate(parts[component.id])
                )
            image.append(_with_parts(component, parts.get(component.id, ())))
        before = most_memory()
        started = time.process_time()
        layout = lay_out(image, previous, max_layers=max_layers, now=crowd.now)
        seconds = time.process_time() - started
        units = {unit.id: unit for unit in layout.units}
        diff_ids = [
            "sha256:" + sha256(b"".join(units[ident].fingerprint for ident in layer.components)).hexdigest()
            for layer in layout.plan.layers
        ]
        ledger = Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=crowd.now)
        previous = decode(encode(ledger))
        crowd.advance()
        for ident in chosen[release % 3 :: 3]:
            component = crowd.components[ident]
            crowd.components[ident] = replace(
                component, fingerprint=sha256(component.fingerprint).digest()[:8]
            )
    return seconds, most_memory(), before


def _with_parts(component: Component, parts: tuple[Part, ...]) -> Component:
    return replace(component, size=sum(part.size for part in parts), parts=parts) if parts else component


def most_memory() -> int:
    """Return the most MiB that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="*", type=int, default=[1_000, 3_000, 5_000, 20_000, 100_000])
    parser.add_argument("--layers", default="64,128,400")
    parser.add_argument("--releases", default="0,1,20")
    parser.add_argument("--parts", type=int, default=0, help="the number of components with parts")
    arguments = parser.parse_args()
    print("components  layers  releases  processor s  peak MiB  before MiB")
    context = multiprocessing.get_context("spawn")
    for count in arguments.count:
        for max_layers in map(int, arguments.layers.split(",")):
            for releases in map(int, arguments.releases.split(",")):
                with context.Pool(1) as pool:
                    try:
                        sizes = (count, max_layers, releases)
                        if arguments.parts:
                            found = pool.apply(measure_parts, (*sizes, arguments.parts))
                        else:
                            found = pool.apply(measure, sizes)
                        seconds, peak, before = found
                        cells = f"{seconds:11.2f}  {peak:8}  {before:10}"
                    except MemoryError:
                        cells = f"more than {LIMIT >> 30} GiB of memory"
                print(f"{count:10}  {max_layers:6}  {releases:8}  {cells}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
