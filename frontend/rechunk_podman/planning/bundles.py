"""Bundles: components that are packed as one, if there are too many to compare every pair of them.

If there are more than `Tuning.most_bundles`, the heaviest stay alone. The weight is the square root of bytes
times changes: the cost of sharing a bundle with an unlike component. The others are sorted so that neighbours
behave alike, and this line is cut into bundles of about equal weight. Components of two clean layers, or of a
clean layer and the pool, are never in one bundle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rechunk_podman.model import Component
from rechunk_podman.planning.families import family
from rechunk_podman.planning.pack import CleanLayer
from rechunk_podman.planning.scenarios import Forecast

CLEAN_SHARE = 3
"""Clean layers get this fraction of the bundles (1/3), or all that the pool does not need."""

LEVELS = 2
"""Number of steps to which the probability of a change in a scenario is rounded for comparison."""

BANDS_PER_OCTAVE = 2
"""Bands of bytes per change for each factor of 2; families stay together within a band."""

LIGHT = 1 / 16
"""Share of the greatest weight; a heavier bundle takes in no component of another behaviour."""

STEP = 1.1
"""Factor by which the greatest weight of a bundle grows until there are few enough bundles."""

Behaviour = tuple[int, bytes]
"""The number of a component's clean layer (-1: the pool), and its changes per scenario in LEVELS."""


def bundles(
    components: Sequence[Component], future: Forecast, clean: Sequence[CleanLayer], most: int
) -> list[tuple[int, ...]]:
    """Return bundles of rows of `components`, sorted: every row is in exactly one.

    Args:
        components: in the order of their ids, as the rows of `future`.
        clean: layers of the previous image in which nothing changed; all other rows are the pool.
        most: number of bundles at most, except that each clean layer has at least one, and the pool may
            have half of `most`.

    If there are at most `most` components, each is a bundle of its own.
    """
    count = len(components)
    if count <= most:
        return [(row,) for row in range(count)]
    origins = [-1] * count
    for number, layer in enumerate(clean):
        for row in layer.members:
            origins[row] = number
    changes = 1.0 - np.exp(future.stays)
    rates = np.maximum(changes @ future.weights, 1e-6)
    levels = np.rint(changes * LEVELS).astype(np.uint8)
    behaviours: list[Behaviour] = list(zip(origins, map(bytes, levels), strict=True))
    bands = np.rint(np.log2(future.sizes / rates) * BANDS_PER_OCTAVE).astype(np.int64).tolist()
    families = [family(component.id) for component in components]
    line = sorted(range(count), key=lambda row: (behaviours[row], bands[row], families[row], row))
    weights = (np.rint(np.sqrt(future.sizes * rates)) + 1.0).tolist()
    pool = [row for row in line if origins[row] < 0]
    shut = _cut_into(max(most - len(pool), most // CLEAN_SHARE), line[len(pool) :], weights, behaviours)
    free = _cut_into(max(most - len(shut), most // 2), pool, weights, behaviours)
    return sorted(tuple(sorted(bundle)) for bundle in (*shut, *free))


def _cut_into(
    most: int, line: Sequence[int], weights: Sequence[float], behaviours: Sequence[Behaviour]
) -> list[list[int]]:
    """Cut a line of rows into at most `most` bundles, or one for each origin if there are more origins."""
    if len(line) <= most:
        return [[row] for row in line]
    most = max(most, len({behaviours[row][0] for row in line}))
    full = sum(weights[row] for row in line) / most
    while len(found := _cut(line, weights, behaviours, full)) > most:
        full *= STEP
    return found


def _cut(
    line: Sequence[int], weights: Sequence[float], behaviours: Sequence[Behaviour], full: float
) -> list[list[int]]:
    """Cut a line of rows into bundles of at most the weight `full`; a heavier row is alone."""
    found: list[list[int]] = []
    bundle: list[int] = []
    held, last = 0.0, (-1, b"")
    for row in line:
        weight, behaviour = weights[row], behaviours[row]
        if weight > full:
            found.append([row])
            continue
        apart = behaviour[0] != last[0] or (behaviour != last and held > LIGHT * full)
        if not bundle or apart or held + weight > full:
            bundle = []
            found.append(bundle)
            held = 0.0
        bundle.append(row)
        held += weight
        last = behaviour
    return found
