"""Replay the release history of an image through plan() and the Ledger, and count what clients download.

The rules of the replay: releases in order of date, one that holds exactly what the one before it held is
dropped; a component is a source package, its content the (name, version) pairs of its binary packages; a
layer is identified by the (component, content) pairs in it. Nothing of the future is shown to the planner.
"""

from __future__ import annotations

import json
import lzma
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

from rechunk_podman.errors import RechunkError
from rechunk_podman.model import Component, ComponentId, Plan
from rechunk_podman.planning.ledger import Ledger, decode, encode
from rechunk_podman.planning.plan import plan

SPANS = (1, 2, 4)
"""Updates are counted from one, two and four releases before."""

SKIPPED = 20
"""Releases at the start that are not counted; a third of all if that is less."""

UNKNOWN_SIZE = 50_000
"""Bytes of a package whose size the history lacks."""

MAX_HISTORY = 256 << 20

_XZ_MAGIC = b"\xfd7zXZ\x00"


class HistoryError(RechunkError):
    """A file is no release history, or lacks a field."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its date (epoch seconds) and components."""

    name: str
    date: int
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """The cost of a history: bytes are means per update, by span (1, 2, 4 releases).

    updates: number of those that were counted.
    components: of the last release.
    per_update: (bytes, bound) of each counted update from the release before.
    """

    series: str
    max_layers: int
    stateless: bool
    releases: int
    updates: int
    components: int
    bytes: Mapping[int, float]
    bound: Mapping[int, float]
    reextracted: float
    ledger_bytes: int
    seconds_per_plan: float
    per_update: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def waste(self) -> float:
        """The mean bytes per update above the bound."""
        return self.bytes[1] - self.bound[1]

    def to_json(self) -> dict[str, Any]:
        """The fields of `simulate --json`."""
        return {
            "series": self.series,
            "max_layers": self.max_layers,
            "stateless": self.stateless,
            "releases": self.releases,
            "components": self.components,
            "updates": self.updates,
            "bytes": {str(span): self.bytes[span] for span in SPANS},
            "bound": {str(span): self.bound[span] for span in SPANS},
            "waste": self.waste,
            "reextracted": self.reextracted,
            "ledger_bytes": self.ledger_bytes,
            "seconds_per_plan": self.seconds_per_plan,
        }


@dataclass(frozen=True, slots=True)
class History:
    """A parsed history: its name and its releases, oldest first."""

    series: str
    releases: tuple[Release, ...]


def parse_history(data: bytes) -> History:
    """Read a history: JSON, plain or compressed with xz.

    Raises:
        HistoryError: it is neither, or a field is missing or of the wrong type.
    """
    try:
        if data.startswith(_XZ_MAGIC):
            decompressor = lzma.LZMADecompressor()
            data = decompressor.decompress(data, MAX_HISTORY)
            if not decompressor.eof:
                raise HistoryError("the history is cut off, or too large")
        document = json.loads(data)
        packages = document["components"]
        states = sorted(_states(document["releases"]), key=lambda state: state[0])
        sizes, times = _sources(packages)
        releases: list[Release] = []
        last: Mapping[str, str] | None = None
        for date, name, held in states:
            if held != last:
                releases.append(_release(date, name, held, packages, sizes, times))
            last = held
        return History(str(document["series"]), tuple(releases))
    except (lzma.LZMAError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise HistoryError(
            "not a release history", context=[f"{type(error).__name__}: {error}"], exit_code=2
        ) from error


def _states(releases: list[dict[str, Any]]) -> Iterator[tuple[int, str, dict[str, str]]]:
    held: dict[str, str] = {}
    for release in releases:
        if "packages" in release:
            held = dict(release["packages"])
        else:
            held = {**held, **release.get("set", {})}
            for name in release.get("del", ()):
                held.pop(name, None)
        yield int(release["date"]), str(release["id"]), held


def _sources(packages: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return size and times of changes of each source package, over the whole series."""
    sizes: dict[str, int] = {}
    times: dict[str, set[int]] = {}
    for package in packages.values():
        source, size = str(package["source"]), package.get("size")
        sizes[source] = sizes.get(source, 0) + (UNKNOWN_SIZE if size is None else max(int(size), 1))
        known = package.get("changelog") or package.get("bumps") or ()
        times.setdefault(source, set()).update(int(when) for when in known)
    return sizes, {source: tuple(sorted(known, reverse=True)) for source, known in times.items()}


def _release(
    date: int,
    name: str,
    held: Mapping[str, str],
    packages: Mapping[str, Any],
    sizes: Mapping[str, int],
    times: Mapping[str, tuple[int, ...]],
) -> Release:
    contents: dict[str, list[str]] = {}
    for package in sorted(held):
        contents.setdefault(str(packages[package]["source"]), []).append(f"{package} {held[package]}")
    components = []
    for source, content in sorted(contents.items()):
        fingerprint = blake2b("\n".join(content).encode(), digest_size=8).digest()
        known = tuple(when for when in times[source] if when <= date)
        version = content[0].partition(" ")[2]
        ident = ComponentId("rpm", source)
        components.append(Component(ident, sizes[source], fingerprint, version=version, changes=known))
    return Release(name, date, tuple(components))


def replay(
    history: History,
    *,
    max_layers: int,
    stateless: bool = False,
    progress: Callable[[int, int], None] | None = None,
    lose_ledger_at: int | None = None,
) -> Replay:
    """Plan every release of `history` with the Ledger of the one before, and count the downloads.

    Args:
        stateless: no release sees a Ledger.
        progress: called with (done, total) after each release.
        lose_ledger_at: the index of a release that is planned as if the Ledger had been lost.

    Raises:
        HistoryError: fewer than two releases.
    """
    releases = history.releases
    if len(releases) < 2:
        raise HistoryError(f"{history.series} holds fewer than two releases", exit_code=2)
    text, seconds, largest = "", 0.0, 0
    layers: list[list[tuple[str, int]]] = []
    contents: list[dict[tuple[ComponentId, bytes], int]] = []
    for index, release in enumerate(releases):
        previous = decode(text) if text and not stateless and index != lose_ledger_at else None
        started = time.perf_counter()
        planned = plan(release.components, previous, max_layers=max_layers, now=release.date)
        seconds += time.perf_counter() - started
        layers.append(layer_contents(release, planned))
        contents.append({(c.id, c.fingerprint): c.size for c in release.components})
        if not stateless:
            diff_ids = [f"sha256:{digest}" for digest, _ in layers[-1]]
            ledger = Ledger.advance(previous, release.components, planned, diff_ids, date=release.date)
            text = encode(ledger)
            largest = max(largest, len(text))
        if progress is not None:
            progress(index + 1, len(releases))
    first = min(SKIPPED, len(releases) // 3)
    counted = range(max(first, 1), len(releases))
    means: dict[int, float] = {}
    bounds: dict[int, float] = {}
    reextracted = 0
    for span in SPANS:
        spans = [t for t in counted if t >= span]
        downloads = [_new(dict(layers[t]), dict(layers[t - span])) for t in spans]
        least = [_new(contents[t], contents[t - span]) for t in spans]
        means[span] = sum(downloads) / max(len(spans), 1)
        bounds[span] = sum(least) / max(len(spans), 1)
        if span == 1:
            per_update = tuple(zip(downloads, least, strict=True))
    for t in counted:
        reextracted += _above_first_change(layers[t - 1], layers[t])
    return Replay(
        history.series,
        max_layers,
        stateless,
        len(releases),
        len(counted),
        len(releases[-1].components),
        means,
        bounds,
        reextracted / max(len(counted), 1),
        largest,
        seconds / len(releases),
        per_update,
    )


def layer_contents(release: Release, planned: Plan) -> list[tuple[str, int]]:
    """Return (identity, bytes) of each layer; the identity stands for the diff_id."""
    known = {component.id: component for component in release.components}
    layers = []
    for layer in planned.layers:
        digest, size = sha256(), 0
        for ident in sorted(layer.components):
            digest.update(f"{ident}\0".encode() + known[ident].fingerprint)
            size += known[ident].size
        layers.append((digest.hexdigest(), size))
    return layers


def _new(now: Mapping[Any, int], before: Mapping[Any, int]) -> int:
    return sum(size for key, size in now.items() if key not in before)


def _above_first_change(before: list[tuple[str, int]], now: list[tuple[str, int]]) -> int:
    """Return the bytes that local storage unpacks again: of the first new layer, and of all above it."""
    same = 0
    for old, new in zip(before, now, strict=False):
        if old[0] != new[0]:
            break
        same += 1
    return sum(size for _, size in now[same:])
