"""Kin: the units of one component, which change together or not at all.

An update of a component changes each of its units with a probability of its own: the share of the component's
updates on record in which the unit changed, shrunk towards a prior. How often the component is updated is
forecast as for any other. The forecast of its units is made of both. An update of a component is two
scenarios more, so that layers of kin are known to be downloaded together: it changes all units, as a new
version does, or each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rechunk_podman.model import Component, PartKind
from rechunk_podman.planning.rates import Array, Ints, ReleaseTable
from rechunk_podman.planning.scenarios import Forecast

PRIORS = {PartKind.DATA: 0.6, PartKind.PROGRAMS: 0.97, PartKind.NOTES: 0.99}
"""The probability that an update changes a unit, before anything is known."""

PRIOR_TRIALS = 3.0
"""The updates that PRIORS are worth."""

COMPLETE = 0.5
"""The probability that an update changes all units."""

LEAST_SHARE = 0.02
"""The least probability that any other update changes a unit."""

LIKELY = 0.2
"""Above this probability an update in the scenario of a recorded release is one of this scenario."""

MOST_SCENARIOS = 64
"""The most components whose updates are scenarios of their own."""

MOST_WEIGHT = 0.5
"""The greatest weight of all scenarios of single components; the rest of their rates is independent."""


@dataclass(frozen=True, slots=True)
class Families:
    """The components of units.

    family_of: for each unit, the number of its component.
    first: for each component, the number of its first unit.
    """

    family_of: Ints
    first: Ints

    @classmethod
    def of(cls, units: Sequence[Component]) -> Families:
        """Return the families of units, which are sorted by id."""
        new = np.array([True, *(one.id.whole != other.id.whole for one, other in pairwise(units))])
        return cls(np.cumsum(new) - 1, np.flatnonzero(new))

    @property
    def all_single(self) -> bool:
        """True if every component is one unit."""
        return len(self.first) == len(self.family_of)


def joined(past: ReleaseTable, families: Families) -> ReleaseTable:
    """Return the table of components from that of their units: they change if any of their units does."""
    return ReleaseTable(
        np.logical_or.reduceat(past.changed, families.first, axis=0),
        np.logical_or.reduceat(past.seen, families.first, axis=0),
        past.trains[families.first],
        past.gap,
    )


def shares(units: Sequence[Component], past: ReleaseTable, families: Families) -> Array:
    """Return the probability that an update of its component changes a unit, for each unit."""
    recorded = past.changed & past.seen
    updated = joined(past, families).changed[families.family_of] & past.seen
    hits, trials = recorded.sum(axis=1), updated.sum(axis=1)
    priors = np.array([PRIORS[unit.parts[0].kind] if unit.parts else 1.0 for unit in units])
    return np.asarray((hits + PRIOR_TRIALS * priors) / (trials + PRIOR_TRIALS))


def of_units(future: Forecast, sizes: Array, families: Families, share: Array) -> Forecast:
    """Return the forecast of units from that of their components.

    Args:
        sizes: bytes per unit.
        share: of each unit, see shares().
    """
    if families.all_single:
        return future
    family_of = families.family_of
    chances = 1.0 - np.exp(future.stays)
    single = np.bincount(family_of) == 1
    # what a recorded release repeats stays in its scenario; the rest of the rate gets a scenario of its own
    repeated = np.where((chances > LIKELY) | single[:, None], chances, 0.0)
    left = (chances - repeated) @ future.weights
    divided = np.flatnonzero(~single)
    divided = np.sort(divided[np.argsort(-left[divided], kind="stable")[:MOST_SCENARIOS]])
    weights = left[divided] * min(1.0, MOST_WEIGHT / max(left[divided].sum(), 1e-9))
    apart = left.copy()
    apart[divided] = (left[divided] - weights) / (1.0 - weights)
    table = np.maximum(repeated, apart[:, None])
    more = np.repeat(table[:, -1:], len(divided), axis=1)
    of_unit = np.where(single[family_of], 1.0, share)[:, None]
    more = more[family_of] * of_unit
    own = family_of[:, None] == divided
    some = np.maximum((share - COMPLETE) / (1.0 - COMPLETE), LEAST_SHARE)[:, None]
    columns = (table[family_of] * of_unit, np.where(own, 1.0, more), np.where(own, some, more))
    return Forecast(
        sizes,
        np.log1p(-np.clip(np.column_stack(columns), 0.0, 0.995)),
        np.concatenate(
            [future.weights * (1.0 - weights.sum()), weights * COMPLETE, weights * (1.0 - COMPLETE)]
        ),
    )
