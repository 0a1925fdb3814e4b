"""The planner on the open release histories, beside the figures of chunkah 0.6's published algorithm.

    python benchmarks/packing.py [HISTORY.json.xz …] [--layers 32,64,128]

The baseline is our own implementation of what chunkah 0.6 documents of its packing: components whose
size is an outlier (median and median absolute deviation) alone, at most 80 % of the layers; the rest in three
tiers of stability (mean and standard deviation), hashed by name into bins whose number follows the size of
the tier. Stability is that of changelogs: a Poisson rate over the last year, looked at over seven days; where
there is none, the first release that held this version stands for the build time.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from rechunk_podman.model import Component
from rechunk_podman.planning.history import History, parse_history
from rechunk_podman.planning.simulate import replay

TOP = Path(__file__).resolve().parents[1]

HISTORIES = (TOP.parent / "shared" / "corpora", TOP / "tests" / "data" / "histories")
"""Where the histories lie, where none is named: the first folder that is there."""

DAY = 86_400

# Waste, MB per update, 64 layers, of chunkah 0.6, of hhd-dev/rechunk, of the first sketch of this design.
PUBLISHED = {
    "fcos-testing-devel": (26.1, 33.8, 7.0),
    "webtop-fedora-kde": (533.0, 496.0, 156.0),
    "aks-azurelinux3": (75.7, 41.6, 11.8),
    "webtop-debian-xfce": (156.4, 75.8, 24.7),
    "swag-alpine": (4.0, 12.1, 0.5),
}


def stability(changes: Sequence[int], built: int, now: int) -> float:
    """Probability of no change within a week, as chunkah estimates it from a changelog."""
    start = now - 365 * DAY
    recent = sorted(when for when in (changes or [built]) if when >= start)
    if not recent:
        return 0.99
    span = (now - recent[0]) / DAY
    if span < 1.0:
        return 0.0
    return math.exp(-7.0 * len({when // DAY for when in recent}) / span)


def fnv1a(name: str) -> int:
    """64-bit FNV-1a of a string as Rust hashes one: its bytes and 0xff."""
    value = 0xCBF29CE484222325
    for byte in name.encode() + b"\xff":
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def chunkah(items: Sequence[tuple[str, int, float]], layers: int) -> list[list[int]]:
    """Groups of indices of (name, size, stability), at most `layers`."""
    if len(items) <= layers:
        return [[index] for index in range(len(items))]
    sizes = [size for _, size, _ in items]
    median = statistics.median(sizes)
    spread = statistics.median([abs(size - median) for size in sizes])
    limit = median + 1.5 * (median if spread < median * 0.01 else spread)
    large = [index for index, size in enumerate(sizes) if size >= limit]
    rest = [index for index, size in enumerate(sizes) if size < limit]
    allowed = int((layers - (1 if rest else 0)) * 0.8)
    if len(large) > allowed:
        large.sort(key=lambda index: -sizes[index])
        rest += large[allowed:]
        large = large[:allowed]
    groups = [[index] for index in large]
    return groups + _tiers(items, rest, layers - len(groups))


def _tiers(items: Sequence[tuple[str, int, float]], rest: list[int], bins: int) -> list[list[int]]:
    if len(rest) <= bins:
        return [[index] for index in rest]
    known = [items[index][2] for index in rest]
    mean, deviation = statistics.fmean(known), statistics.pstdev(known)
    tiers: list[list[int]] = [[], [], []]
    for index in rest:
        value = items[index][2]
        tiers[0 if value >= mean + deviation else 2 if value <= mean - deviation else 1].append(index)
    tiers = [tier for tier in tiers if tier]
    if bins < len(tiers):
        return _hashed(items, rest, bins)
    groups: list[list[int]] = []
    left = bins
    for number, tier in enumerate(tiers):
        following = len(tiers) - number - 1
        share = max(1, math.floor(len(tier) / len(rest) * bins + 0.5))
        share = min(share, left - following) if following else left
        left -= share
        groups += _hashed(items, tier, share)
    return groups


def _hashed(items: Sequence[tuple[str, int, float]], members: list[int], count: int) -> list[list[int]]:
    bins: list[list[int]] = [[] for _ in range(count)]
    for index in members:
        bins[fnv1a(items[index][0]) % count].append(index)
    for empty in [number for number in reversed(range(count)) if not bins[number]]:
        movable = [
            (items[index][1], index, number) for number, b in enumerate(bins) if len(b) > 1 for index in b
        ]
        if not movable:
            break
        _, index, source = max(movable)
        bins[source].remove(index)
        bins[empty].append(index)
    return [members for members in bins if members]


def chunkah_layers(history: History, layers: int) -> Iterator[dict[frozenset[tuple[str, bytes]], int]]:
    """The layers (content -> bytes) of each release as chunkah would make them."""
    built: dict[tuple[str, bytes], int] = {}
    for release in history.releases:
        items = []
        for component in release.components:
            key = (str(component.id), component.fingerprint)
            since = built.setdefault(key, release.date)
            items.append(
                (str(component.id), component.size, stability(component.changes, since, release.date))
            )
        yield {
            frozenset(_content(release.components[index]) for index in group): sum(
                release.components[index].size for index in group
            )
            for group in chunkah(items, layers)
        }


def _content(component: Component) -> tuple[str, bytes]:
    return str(component.id), component.fingerprint


def chunkah_bytes(history: History, layers: int) -> float:
    """Mean bytes per update of the baseline."""
    states = list(chunkah_layers(history, layers))
    first = max(min(20, len(states) // 3), 1)
    updates = [
        sum(size for content, size in states[t].items() if content not in states[t - 1])
        for t in range(first, len(states))
    ]
    return sum(updates) / len(updates)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("history", nargs="*", type=Path)
    parser.add_argument("--layers", default="32,64,128")
    arguments = parser.parse_args()
    folder = next(folder for folder in HISTORIES if folder.is_dir())
    paths = arguments.history or sorted(folder.glob("*.json.xz"))
    histories = [parse_history(path.read_bytes()) for path in paths]
    for layers in (int(number) for number in arguments.layers.split(",")):
        _table(histories, layers)
    return 0


def _table(histories: Sequence[History], layers: int) -> None:
    print(f"\n{layers} layers: waste, MB per update (bytes above the bound), as a share of chunkah's")
    wasted = ("bound", "chunkah", "rechunk", "sketch", "stateless", "memory")
    print(_row("history", *wasted, "stateless", "memory", "unpacked", "s/plan", "ledger"))
    shares: dict[bool, list[float]] = {True: [], False: []}
    for history in histories:
        fresh = replay(history, max_layers=layers, stateless=True)
        memory = replay(history, max_layers=layers)
        other = chunkah_bytes(history, layers) - memory.bound[1]
        shares[True].append(fresh.waste / other)
        shares[False].append(memory.waste / other)
        published = PUBLISHED.get(history.series, ()) if layers == 64 else ()
        print(
            _row(
                history.series,
                *(f"{value / 1e6:.1f}" for value in (memory.bound[1], other)),
                *([f"{value:.1f}" for value in published[1:]] or ["", ""]),
                *(f"{value / 1e6:.2f}" for value in (fresh.waste, memory.waste)),
                *(f"{shares[stateless][-1]:.3f}" for stateless in (True, False)),
                f"{memory.reextracted / 1e6:.0f}",
                f"{memory.seconds_per_plan:.3f}",
                str(memory.ledger_bytes),
            ),
            flush=True,
        )
    means = (f"{geometric_mean(shares[stateless]):.3f}" for stateless in (True, False))
    print(_row("geometric mean", *[""] * 6, *means))


def _row(name: str, *cells: str) -> str:
    return f"{name:20}" + "".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    raise SystemExit(main())
