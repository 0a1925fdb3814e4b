"""Scenarios of the next release: sets of components that change together.

Each release on record is a scenario that happens again, with a weight that fades with its age. In one more
scenario every component changes independently at its rate. Components that changed in one release by
coincidence are not expected to change together again; a version or more releases in common are evidence that
they will. In a recorded release a component that did not change may still change. This probability makes its
mean over all scenarios equal to its rate, and is larger in releases in which many others changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rechunk_podman.planning.rates import Array, Flags, Ints, ReleaseTable, Tuning

HIT = 0.98
"""The highest probability that a component that changed in a recorded release changes in its scenario."""

TRAIN_HITS, TRAIN_TRIALS = 1.9, 2.0
"""The weight of a version in common: releases in which both changed, out of those in which either did."""

MASS_REBUILD = 0.5
"""Share of all components. If more changed in a release, its pairs are not compared: they tell nothing and
take long. The same holds if more kinds changed than this share of `Tuning.most_bundles`."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The possible changes of the next release.

    sizes: bytes per component.
    stays: log of the probability that component i (row) does not change in scenario s (column).
    weights: of the scenarios, sum 1.
    """

    sizes: Array
    stays: Array
    weights: Array

    def of(self, rows: Sequence[int]) -> Forecast:
        """Return the forecast of some rows alone, in the given order."""
        chosen = list(rows)
        return Forecast(self.sizes[chosen], self.stays[chosen], self.weights)

    def bundled(self, bundles: Sequence[Sequence[int]]) -> Forecast:
        """Return the forecast of bundles of rows: a bundle changes if any of its rows does.

        Args:
            bundles: every row in exactly one, in order.
        """
        if len(bundles) == len(self.sizes):
            return self
        rows = [list(bundle) for bundle in bundles]
        stays = np.array([self.stays[bundle].sum(axis=0) for bundle in rows])
        sizes = np.array([self.sizes[bundle].sum() for bundle in rows])
        return Forecast(sizes, stays, self.weights)


def release_weights(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return the weight of each release on record, newest first: it fades, and is small for mass rebuilds."""
    count = past.changed.shape[1]
    fading = 2.0 ** (-np.arange(count) / tuning.half_life)
    return np.asarray(fading * _smallness(past, tuning))


def _smallness(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return a number for each release: 1 if little changed, close to 0 for a mass rebuild."""
    share = past.changed.sum(axis=0) / np.maximum(past.seen.sum(axis=0), 1)
    return np.asarray(1.0 / (1.0 + (share / tuning.mass_share) ** 2))


def loyalty(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return, per component and release, the probability that it again changes together with another one.

    It is the highest over all others that changed in this release, estimated from the other releases on
    record in which either changed; mass rebuilds count for little. It is 0 if the component did not change,
    or if nothing else did.

    If there are more than `most_bundles` components, pairs of kinds are compared, one release at a time.
    """
    few = len(past.changed) <= tuning.most_bundles
    kinds = _each_apart(past) if few else _alike(past)
    small = _smallness(past, tuning)
    table = kinds.changed.astype(float)
    both = (table * small) @ table.T if few else None
    each = (table * small * table).sum(axis=1) if both is None else both.diagonal()
    found = np.zeros_like(table)
    for release in range(table.shape[1]):
        rows = np.flatnonzero(kinds.changed[:, release])
        changed = int(kinds.counts[rows].sum())
        if changed < 2:
            continue
        if changed > MASS_REBUILD * len(past.changed) or len(rows) > MASS_REBUILD * tuning.most_bundles:
            found[rows, release] = tuning.loyalty
            continue
        shared = (table[rows] * small) @ table[rows].T if both is None else both[np.ix_(rows, rows)]
        either = each[rows][:, None] + each[rows][None, :] - shared
        trains = kinds.trains[rows]
        train = (trains[:, None] == trains[None, :]) & (trains >= 0)
        hits = np.maximum(shared - small[release], 0.0) + np.where(train, TRAIN_HITS, tuning.loyalty)
        trials = np.maximum(either - small[release], 0.0) + np.where(train, TRAIN_TRIALS, 1.0)
        bound = hits / trials
        single = np.flatnonzero(kinds.counts[rows] == 1)
        bound[single, single] = 0.0
        found[rows, release] = bound.max(axis=1)
    return found[kinds.kind_of]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """The kinds of components that loyalty() distinguishes.

    changed[k, j]: components of kind k changed in release j.
    trains: the train of each kind, -1 for none.
    counts: the number of components of each kind.
    kind_of: the kind of each component.
    """

    changed: Flags
    trains: Ints
    counts: Ints
    kind_of: Ints


def _each_apart(past: ReleaseTable) -> _Kinds:
    """Return a kind for each component."""
    count = len(past.changed)
    trains = np.unique(past.trains, return_inverse=True)[1]
    return _Kinds(past.changed & past.seen, trains, np.ones(count, dtype=np.int64), np.arange(count))


def _alike(past: ReleaseTable) -> _Kinds:
    """Return one kind for components that changed in the same releases and are of one train, or of none."""
    changed = past.changed & past.seen
    _, train_of, members = np.unique(past.trains, return_inverse=True, return_counts=True)
    trains = np.where(members[train_of] > 1, train_of, -1)
    keys = np.column_stack([np.packbits(changed, axis=1), trains.view(np.uint8).reshape(-1, 8)])
    _, first, kind_of, counts = np.unique(
        keys, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    return _Kinds(changed[first], trains[first], counts, kind_of.reshape(-1))


def forecast(sizes: Array, past: ReleaseTable, rates: Array, weights: Array, tuning: Tuning) -> Forecast:
    """Return the scenarios of a record. The mean of each component is its rate if that is possible."""
    count = past.changed.shape[1]
    if count == 0:
        return Forecast(sizes, np.log1p(-rates)[:, None], np.ones(1))
    total = weights.sum()
    # a short record says little about components that change together
    independent = max(tuning.independent, 4.0 / (4.0 + total))
    chances = np.append(weights / total * (1.0 - independent), independent)
    recorded = past.changed & past.seen
    busy = recorded.sum(axis=0) + 1.0
    tilt = (busy / np.average(busy, weights=weights)) ** tuning.surprise_tilt
    mass = (recorded * weights).sum(axis=1) / total
    # the share of the rate that recorded changes explain; the rest is spread as surprise
    explained = np.minimum(1.0, rates / np.maximum(mass, 1e-9))
    hits = recorded * (HIT * explained)[:, None] * loyalty(past, tuning)
    left = np.maximum(rates - (hits * weights).sum(axis=1) / total, 0.0)
    room = ((~recorded) * tilt * weights).sum(axis=1) / total
    surprise = np.minimum((left / np.maximum(room, 1e-9))[:, None] * tilt, 0.9) * ~recorded
    table = np.column_stack([np.where(recorded, hits, surprise), rates])
    return Forecast(sizes, np.log1p(-np.clip(table, 0.0, 0.995)), chances)
