"""Replay the release history of an image through plan() and the Ledger, and count what clients download.

Releases are replayed in order of date; a release with the same contents as the one before is dropped. A
component is a source package; its content is the (name, version) pairs of its binary packages. A layer is
identified by the (component, content) pairs in it. The planner sees nothing of the future.
"""

from __future__ import annotations

import json
import lzma
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
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
"""The number of releases at the start that are not counted; a third of all if that is less."""

UNKNOWN_SIZE = 50_000
"""Bytes of a package whose size the history lacks."""

MAX_HISTORY = 32 << 20
"""The most bytes of JSON, ten times as many as in the known histories."""

MAX_VALUES = 1_000_000
"""The most values in the JSON document."""

MAX_HELD = 500_000
"""The most packages of all releases together."""

MAX_KNOWN = 8_000_000
"""The most times of changes of all releases together."""

MAX_DATE = 1 << 40
MAX_SIZE = 1 << 50

_XZ_MEMORY = 100 << 20
"""Bytes of memory of the decompressor; xz -9 needs 65 MiB."""

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

    updates: the number of updates that were counted.
    components: the number of components of the last release.
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


def parse_history(data: bytes, name: str = "the file") -> History:
    """Read a history: JSON, plain or compressed with xz. Memory and time are bounded.

    Args:
        name: for messages.

    Raises:
        HistoryError: the data is neither, is too large, or a field is missing or of a wrong type or size.
    """
    try:
        document = json.loads(_plain(data), parse_constant=_no_number)
        packages = document["components"]
        states = sorted(_states(document["releases"]), key=lambda state: state[0])
        sizes, times = _sources(packages)
        known = _Known(times)
        releases: list[Release] = []
        last: Mapping[str, str] | None = None
        for date, release, held in states:
            if held != last:
                releases.append(_release(date, release, held, packages, sizes, known))
            last = held
        return History(_text(document["series"]), tuple(releases))
    except (
        lzma.LZMAError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise HistoryError(
            f"{name} is no release history", context=[f"{type(error).__name__}: {error}"], exit_code=2
        ) from error


def _plain(data: bytes) -> bytes:
    """Return the JSON text, decompressed.

    Raises:
        ValueError: it is cut off or too large, or holds too many values.
    """
    if data.startswith(_XZ_MAGIC):
        decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        data = decompressor.decompress(data, MAX_HISTORY)
        if not decompressor.eof:
            raise ValueError("cut off, or too large")
    if len(data) > MAX_HISTORY:
        raise ValueError(f"more than {MAX_HISTORY >> 20} MiB")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    return data


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _text(value: object) -> str:
    """Return a value as text. ValueError: it cannot be encoded."""
    text = str(value)
    text.encode()
    return text


def _number(value: Any, limit: int) -> int:
    """Return a number of at most `limit`. ValueError or OverflowError: it is no number, or larger."""
    number = int(value)
    if not -limit <= number <= limit:
        raise ValueError("a number out of range")
    return number


def _states(releases: list[dict[str, Any]]) -> Iterator[tuple[int, str, dict[str, str]]]:
    held: dict[str, str] = {}
    total = 0
    for release in releases:
        if "packages" in release:
            held = dict(release["packages"])
        else:
            held = {**held, **release.get("set", {})}
            for name in release.get("del", ()):
                held.pop(name, None)
        total += len(held) + 1
        if total > MAX_HELD:
            raise ValueError(f"more than {MAX_HELD} packages of releases")
        yield _number(release["date"], MAX_DATE), _text(release["id"]), held


def _sources(packages: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return size and times of changes of each source package, over the whole series."""
    sizes: dict[str, int] = {}
    times: dict[str, set[int]] = {}
    for package in packages.values():
        source, size = _text(package["source"]), package.get("size")
        if not source:
            raise ValueError("a source without a name")
        sizes[source] = sizes.get(source, 0) + (
            UNKNOWN_SIZE if size is None else max(_number(size, MAX_SIZE), 1)
        )
        known = package.get("changelog") or package.get("bumps") or ()
        times.setdefault(source, set()).update(_number(when, MAX_DATE) for when in known)
    return sizes, {source: tuple(sorted(known, reverse=True)) for source, known in times.items()}


class _Known:
    """The times of changes that are known at a date; releases with the same times share them."""

    def __init__(self, times: Mapping[str, tuple[int, ...]]) -> None:
        self._times = times
        self._last: dict[str, tuple[int, ...]] = {}
        self._left = MAX_KNOWN

    def at(self, source: str, date: int) -> tuple[int, ...]:
        """Return the times of a source that are not after `date`. ValueError: they are too many in all."""
        times = self._times[source]
        count = len(times) - bisect_left(times, -date, key=lambda when: -when)
        if len(self._last.get(source, ())) != count:
            self._left -= count
            if self._left < 0:
                raise ValueError(f"more than {MAX_KNOWN} times of changes")
            self._last[source] = times[len(times) - count :]
        return self._last.get(source, ())


def _release(
    date: int,
    name: str,
    held: Mapping[str, str],
    packages: Mapping[str, Any],
    sizes: Mapping[str, int],
    known: _Known,
) -> Release:
    contents: dict[str, list[str]] = {}
    for package in sorted(held):
        contents.setdefault(str(packages[package]["source"]), []).append(f"{package} {held[package]}")
    components = []
    for source, content in sorted(contents.items()):
        fingerprint = blake2b("\n".join(content).encode(), digest_size=8).digest()
        version = content[0].partition(" ")[2]
        ident = ComponentId("rpm", source)
        changes = known.at(source, date)
        components.append(Component(ident, sizes[source], fingerprint, version=version, changes=changes))
    return Release(name, date, tuple(components))


def replay(
    history: History,
    *,
    max_layers: int,
    stateless: bool = False,
    progress: Callable[[int, int], None] | None = None,
    fresh_at: Collection[int] = (),
) -> Replay:
    """Plan every release of `history` with the Ledger of the one before, and count the downloads.

    Args:
        stateless: no release sees a Ledger.
        progress: called with (done, total) after each release.
        fresh_at: the indices of releases that are planned without a Ledger, as `--fresh` does.

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
        previous = decode(text) if text and not stateless and index not in fresh_at else None
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


def every(history: History, days: int) -> frozenset[int]:
    """Return the index of each first release that is at least `days` after the one returned before it."""
    indices: list[int] = []
    last = history.releases[0].date
    for index, release in enumerate(history.releases):
        if release.date >= last + days * 86_400:
            indices.append(index)
            last = release.date
    return frozenset(indices)


def layer_contents(release: Release, planned: Plan) -> list[tuple[str, int]]:
    """Return (identity, bytes) of each layer; the identity replaces the diff_id."""
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
    """Return the bytes that local storage unpacks again: the first new layer and all layers above it."""
    same = 0
    for old, new in zip(before, now, strict=False):
        if old[0] != new[0]:
            break
        same += 1
    return sum(size for _, size in now[same:])
