"""Rates: the probability that a component changes in the next release.

The estimate is Gamma-Poisson, from the Ledger's record and the comparison with the previous image; older
releases count less. It is shrunk towards a prior: the update interval that the owner gave, the rate of the
kind, else the pooled rate times factors from name and changelog.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import Component
from rechunk_podman.planning.ledger import MAX_RELEASES, Ledger
from rechunk_podman.planning.reputation import reputation

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

DAY = 86_400.0

PRIORS: Mapping[str, float] = {"database": 0.97, "unclaimed": 0.5, "kernel": 0.15, "filesystem": 0.002}
"""Expected changes per release of kinds that behave alike in every image."""

KIND_SHRINK = 2.0
"""The weight of PRIORS, in releases; small, so that the record of an unclaimed file soon outweighs it."""

SHORT_VERSION = 3
"""Characters of a version; two packages may have a shorter version in common by chance."""

FIRST_RATE = 0.03
"""Expected changes per release of a package, before anything is known."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The constants of the forecast and of packing, for the experiments in docs/planning.md.

    most_bundles: if there are more components, similar ones are packed as one; memory grows with its square.
    """

    half_life: float = 64.0
    shrink: float = 24.0
    pooled_shrink: float = 40.0
    changelog_half_life: float = 365.0
    changelog_strength: float = 0.5
    changelog_floor: float = 0.1
    mass_share: float = 0.15
    loyalty: float = 0.15
    independent: float = 0.2
    surprise_tilt: float = 1.0
    horizon: float = 20.0
    wait: float = 1.0
    most_bundles: int = 3_000


@dataclass(frozen=True, slots=True)
class ReleaseTable:
    """The releases on record, newest first; row i belongs to the i-th component.

    changed[i, j]: component i changed, or was new, in release j.
    seen[i, j]: component i was in release j.
    trains: a number for each component, the same for those of one upstream version.
    gap: days between releases.
    """

    changed: Flags
    seen: Flags
    trains: Ints
    gap: float


def usual_gap(dates: Sequence[int], now: int) -> float:
    """Return the days between releases: the median gap on record, a week if there is none."""
    gaps = sorted(b - a for a, b in zip(dates, [*dates[1:], now], strict=True) if b > a)
    return max(gaps[len(gaps) // 2] / DAY, 0.04) if gaps else 7.0


def release_table(components: Sequence[Component], previous: Ledger, now: int) -> ReleaseTable:
    """Return the table of changes: the release at hand first, then the releases of the Ledger."""
    columns = np.arange(len(previous.dates), dtype=np.uint64)
    ages = np.zeros(len(components), dtype=np.uint64)
    bits = np.zeros(len(components), dtype=np.uint64)
    for row, component in enumerate(components):
        before = previous.components.get(component.id)
        if before is not None:
            ages[row] = before.age
            bits[row] = (before.changes << 1 | previous.changed(component)) & (1 << MAX_RELEASES) - 1
    seen = columns < ages[:, None]
    changed = seen & (bits[:, None] >> columns & np.uint64(1)).astype(bool)
    return ReleaseTable(changed, seen, trains(components), usual_gap(previous.dates, now))


def trains(components: Sequence[Component]) -> Ints:
    """Return a number for each component, the same for those of one upstream version that is long enough."""
    numbers: dict[str, int] = {}
    found = np.empty(len(components), dtype=np.int64)
    for row, component in enumerate(components):
        version = upstream(component.version)
        trivial = len(version) < SHORT_VERSION
        found[row] = -1 - row if trivial else numbers.setdefault(version, len(numbers))
    return found


@lru_cache(maxsize=1 << 14)
def upstream(version: str) -> str:
    """Return the newest (the last) version of a component without epoch and the packager's revision."""
    return version.rpartition(" ")[2].rpartition(":")[2].partition("-")[0]


def rates(
    components: Sequence[Component], past: ReleaseTable, weights: Array, now: int, tuning: Tuning
) -> Array:
    """Return the probability of a change in the next release, of each component.

    Args:
        weights: the weight of each release on record, newest first.
    """
    hits = (past.changed * weights).sum(axis=1)
    trials = (past.seen * weights).sum(axis=1)
    prior = _pooled(components, hits, trials, tuning)
    if tuning.changelog_strength > 0.0:
        prior = _with_changelogs(components, prior, past.gap, now, tuning)
    for row, component in enumerate(components):
        fixed = PRIORS.get(component.id.source)
        if component.interval is not None:
            prior[row] = past.gap / max(component.interval, 0.04)
        elif fixed is not None:
            prior[row] = fixed
    prior = np.minimum(prior, 0.98)
    strength = np.array([KIND_SHRINK if c.id.source in PRIORS else tuning.shrink for c in components])
    expected = (hits + strength * prior) / (trials + strength)
    return np.asarray(np.clip(expected, 1e-5, 0.995))


def _pooled(components: Sequence[Component], hits: Array, trials: Array, tuning: Tuning) -> Array:
    """Return the rate of all packages together, times the reputation of each name."""
    packages = np.array([component.id.source not in PRIORS for component in components], dtype=bool)
    paces = np.array([reputation(component.id) for component in components])
    expected = (trials * paces)[packages].sum()
    strength = tuning.pooled_shrink
    base = (hits[packages].sum() + FIRST_RATE * strength) / (expected + strength)
    return np.asarray(base * paces)


def _with_changelogs(
    components: Sequence[Component], prior: Array, gap: float, now: int, tuning: Tuning
) -> Array:
    """Return the priors, adjusted by the rate of changelog entries; their mean stays as it was."""
    told = np.array([bool(component.changes) for component in components], dtype=bool)
    tempo = np.array(
        [changelog_rate(component.changes, now, tuning.changelog_half_life) * gap for component in components]
    )
    mean = tempo[told].mean() if told.any() else 0.0
    if mean <= 0.0:
        return prior
    # after a long time without any entry, a little more than 0 remains
    bent = prior * (tempo / mean + tuning.changelog_floor) ** tuning.changelog_strength
    return np.where(told, bent * (prior[told].sum() / bent[told].sum()), prior)


def changelog_rate(changes: Sequence[int], now: int, half_life: float) -> float:
    """Return the changes per day according to a changelog; older entries count less."""
    mass = sum(2.0 ** (-(now - when) / DAY / half_life) for when in changes if when <= now)
    return float(mass * math.log(2) / half_life)


def first_rate(component: Component) -> float:
    """Return the rate of a component without a record, by its interval (a release a week), kind or name."""
    if component.interval is not None:
        return min(7.0 / max(component.interval, 0.04), 0.98)
    return PRIORS.get(component.id.source, FIRST_RATE * reputation(component.id))
