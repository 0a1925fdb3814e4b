"""Scenarios: which components change together in the next release.

Each release on record happens again, with a weight that fades with its age, and in one more scenario every
component changes by itself at its rate. What changed in one release by coincidence is not expected to do so
together again: a version in common, or more releases in common, say that. In a recorded release a component
that did not change may still surprise, with a probability that makes its mean over all scenarios its rate,
larger in releases in which many others changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rechunk_podman.planning.rates import Array, ReleaseTable, Tuning

HIT = 0.98
"""The highest probability that what changed in a recorded release changes when it happens again."""


TRAIN_HITS, TRAIN_TRIALS = 1.9, 2.0
"""The weight of a version in common: releases in which both changed, of those in which one did."""


MASS_REBUILD = 0.5
"""Share of all components; a release with more changes says nothing about pairs, which would take long."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the next release may bring.

    sizes: bytes per component. stays: log of the probability that component i (row) does not change in
    scenario s (column). weights: of the scenarios, sum 1.
    """

    sizes: Array
    stays: Array
    weights: Array


def release_weights(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return the weight of each release on record, newest first: it fades, and is small for mass rebuilds."""
    count = past.changed.shape[1]
    fading = 2.0 ** (-np.arange(count) / tuning.half_life)
    return np.asarray(fading * _smallness(past, tuning))


def _smallness(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return for each release 1 if little changed, towards 0 for a mass rebuild."""
    share = past.changed.sum(axis=0) / np.maximum(past.seen.sum(axis=0), 1)
    return np.asarray(1.0 / (1.0 + (share / tuning.mass_share) ** 2))


def loyalty(past: ReleaseTable, tuning: Tuning) -> Array:
    """Return, of a component and a release in which it changed, the probability to change with another again.

    It is the highest over all others that changed in this release, estimated from the other releases on
    record in which either changed; mass rebuilds count for little. 0 if nothing else changed, or the
    component did not.
    """
    recorded = past.changed & past.seen
    small = _smallness(past, tuning)
    table = recorded.astype(float)
    both = (table * small) @ table.T
    each = both.diagonal()
    either = each[:, None] + each[None, :] - both
    found = np.zeros_like(table)
    for release in range(table.shape[1]):
        rows = np.flatnonzero(recorded[:, release])
        if len(rows) < 2:
            continue
        if len(rows) > MASS_REBUILD * len(table):
            found[rows, release] = tuning.loyalty
            continue
        pairs = np.ix_(rows, rows)
        train = past.trains[rows][:, None] == past.trains[rows][None, :]
        hits = np.maximum(both[pairs] - small[release], 0.0) + np.where(train, TRAIN_HITS, tuning.loyalty)
        trials = np.maximum(either[pairs] - small[release], 0.0) + np.where(train, TRAIN_TRIALS, 1.0)
        bound = hits / trials
        np.fill_diagonal(bound, 0.0)
        found[rows, release] = bound.max(axis=1)
    return found


def forecast(sizes: Array, past: ReleaseTable, rates: Array, weights: Array, tuning: Tuning) -> Forecast:
    """Return the scenarios of a record. The mean of each component is its rate where that is possible."""
    count = past.changed.shape[1]
    if count == 0:
        return Forecast(sizes, np.log1p(-rates)[:, None], np.ones(1))
    total = weights.sum()
    # a short record says little of what goes together
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
