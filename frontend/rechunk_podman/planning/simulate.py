"""Replay the release history of an image through lay_out() and the Ledger, and count what clients download.

Releases are replayed in order of date (history.py). A layer is identified by the (component, content) pairs
in it. The planner sees nothing of the future.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from rechunk_podman.model import ComponentId
from rechunk_podman.planning.history import History, HistoryError, Release
from rechunk_podman.planning.layout import Layout, lay_out
from rechunk_podman.planning.ledger import Ledger, decode, encode
from rechunk_podman.units import human_size

SPANS = (1, 2, 4)
"""Updates are counted from one, two and four releases before."""

SKIPPED = 20
"""The number of releases at the start that are not counted; a third of all if that is less."""


class Update(NamedTuple):
    """The download of one update.

    name, date: of the release that it leads to; epoch seconds.
    bytes, bound: as planned, and if every part, and every component without parts, were a layer of its own.
    own: with the layers that the images themselves have; None if that is unknown.
    """

    name: str
    date: int
    bytes: int
    bound: int
    own: int | None


@dataclass(frozen=True, slots=True)
class Replay:
    """The cost of a history: bytes are means per update, by span (1, 2, 4 releases).

    updates: the number of updates that were counted.
    components: the number of components of the last release.
    own: the same with the layers that the images themselves have; None if that is unknown.
    per_update: each counted update from the release before.
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
    own: Mapping[int, float] | None
    per_update: tuple[Update, ...] = field(default=(), repr=False)

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
            "own": None if self.own is None else {str(span): self.own[span] for span in SPANS},
            "waste": self.waste,
            "reextracted": self.reextracted,
            "ledger_bytes": self.ledger_bytes,
            "seconds_per_plan": self.seconds_per_plan,
            "per_update": [update._asdict() for update in self.per_update],
        }


def replay(
    history: History,
    *,
    max_layers: int,
    stateless: bool = False,
    progress: Callable[[int, int], None] | None = None,
    fresh_at: Collection[int] = (),
    parts: bool = True,
) -> Replay:
    """Plan every release of `history` with the Ledger of the one before, and count the downloads.

    Args:
        stateless: no release sees a Ledger.
        progress: called with (done, total) after each release.
        fresh_at: the indices of releases that are planned without a Ledger, as `--fresh` does.
        parts: divide components by their record, as a build does that has the same option.

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
        # as a build does it
        now = max(release.date, release.built, *(previous.dates[-1:] if previous is not None else ()))
        started = time.perf_counter()
        layout = lay_out(release.components, previous, max_layers=max_layers, now=now, parts=parts)
        seconds += time.perf_counter() - started
        layers.append(layer_contents(release, layout))
        contents.append(_pieces(release, parts=parts))
        if not stateless:
            diff_ids = [f"sha256:{digest}" for digest, _ in layers[-1]]
            ledger = Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=now)
            text = encode(ledger)
            largest = max(largest, len(text))
        if progress is not None:
            progress(index + 1, len(releases))
    first = min(SKIPPED, len(releases) // 3)
    counted = range(max(first, 1), len(releases))
    means: dict[int, float] = {}
    bounds: dict[int, float] = {}
    blobs = [dict(release.layers) for release in releases]
    own: dict[int, float] | None = {} if all(blobs) else None
    reextracted = 0
    for span in SPANS:
        spans = [t for t in counted if t >= span]
        downloads = [_new(dict(layers[t]), dict(layers[t - span])) for t in spans]
        least = [_new(contents[t], contents[t - span]) for t in spans]
        means[span] = sum(downloads) / max(len(spans), 1)
        bounds[span] = sum(least) / max(len(spans), 1)
        theirs = [_new(blobs[t], blobs[t - span]) if own is not None else None for t in spans]
        if own is not None:
            own[span] = sum(size or 0 for size in theirs) / max(len(spans), 1)
        if span == 1:
            per_update = tuple(
                Update(releases[t].name, releases[t].date, planned, bound, given)
                for t, planned, bound, given in zip(spans, downloads, least, theirs, strict=True)
            )
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
        own,
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


def _pieces(release: Release, *, parts: bool) -> dict[tuple[ComponentId, bytes], int]:
    """Return the bytes of each piece that no layer divides: a part, or a component without parts."""
    found = {}
    for component in release.components:
        for part in component.parts if parts else ():
            ident = component.id._replace(part=part.name)
            found[ident, part.fingerprint] = release.download_of_part(component.id, part)
        if not (parts and component.parts):
            found[component.id, component.fingerprint] = release.download(component)
    return found


def layer_contents(release: Release, layout: Layout) -> list[tuple[str, int]]:
    """Return (identity, bytes) of each layer; the identity replaces the diff_id."""
    known = {unit.id: unit for unit in layout.units}
    layers = []
    for layer in layout.plan.layers:
        digest, size = sha256(), 0
        for ident in sorted(layer.components):
            # parts have other times in a layer of some of them than in one that holds the whole component
            digest.update(f"{ident.whole}\0{bool(ident.part):d}".encode() + known[ident].fingerprint)
            size += release.download(known[ident])
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


def sentence(replays: Sequence[Replay]) -> str:
    """Return one sentence about replays of one history with several numbers of layers."""
    first = replays[0]
    parts = [
        f"{human_size(replay.bytes[1])} with {replay.max_layers} layer{'s' if replay.max_layers > 1 else ''}"
        for replay in replays
    ]
    if first.own is not None:
        parts.insert(0, f"{human_size(first.own[1])} as they are")
    parts.append(f"no less than {human_size(first.bound[1])} with any")
    many = "last update" if first.updates == 1 else f"last {first.updates} updates, each"
    return f"{first.series}, the {many}: " + ", ".join(parts)
