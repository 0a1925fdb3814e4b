"""Scenarios: what is expected to change together, and what is held a coincidence."""

from __future__ import annotations

import numpy as np
import pytest

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.planning.rates import ReleaseTable, Tuning, trains, upstream
from rechunk_podman.planning.scenarios import forecast, loyalty, release_weights

A, B = 0, 1
TUNING = Tuning()


def past(
    *releases: set[int], components: int = 40, united: frozenset[int] | set[int] = frozenset()
) -> ReleaseTable:
    """A record, newest first, of which components changed; those in `united` have one version."""
    changed = np.zeros((components, len(releases)), dtype=bool)
    for column, rows in enumerate(releases):
        changed[list(rows), column] = True
    numbers = np.array([-1 if row in united else row for row in range(components)])
    return ReleaseTable(changed, np.ones_like(changed), numbers, 7.0)


def together(record: ReleaseTable) -> float:
    """Probability that B changes in the next release if A does."""
    weights = release_weights(record, TUNING)
    chances = np.full(len(record.changed), 0.1)
    future = forecast(np.ones(len(chances)), record, chances, weights, TUNING)
    change = 1.0 - np.exp(future.stays)
    return float((change[A] * change[B]) @ future.weights / (change[A] @ future.weights))


QUIET: list[set[int]] = [{5}, {6}, {7}, {8}, {9}, {10}]


def test_one_release_in_common_is_a_coincidence_and_a_version_in_common_is_not() -> None:
    once = past({A, B}, *QUIET)
    train = past({A, B}, *QUIET, united={A, B})
    assert loyalty(once, TUNING)[A, 0] == pytest.approx(TUNING.loyalty, abs=0.02)
    assert loyalty(train, TUNING)[A, 0] > 0.9
    assert together(once) < 0.35
    assert together(train) > together(once) + 0.25


def test_more_releases_in_common_are_evidence_and_releases_apart_speak_against_it() -> None:
    found = [
        loyalty(past({A, B}, {A}, {B}, *QUIET), TUNING)[A, 0],
        loyalty(past({A, B}, *QUIET), TUNING)[A, 0],
        loyalty(past({A, B}, {A, B}, *QUIET), TUNING)[A, 0],
        loyalty(past({A, B}, {A, B}, {A, B}, *QUIET), TUNING)[A, 0],
    ]
    assert found == sorted(found)
    assert found[0] < 0.1 < 0.5 < found[2]


def test_a_mass_rebuild_in_common_is_next_to_no_evidence() -> None:
    everything = set(range(40))
    assert loyalty(past({A, B}, everything, *QUIET), TUNING)[A, 0] < 0.2


def test_what_changed_alone_is_loyal_to_nothing_and_keeps_its_rate() -> None:
    record = past({A}, {A}, *QUIET)
    assert not loyalty(record, TUNING)[A].any()
    chances = np.full(40, 0.02)
    chances[A] = 0.2
    weights = release_weights(record, TUNING)
    future = forecast(np.ones(40), record, chances, weights, TUNING)
    assert (1.0 - np.exp(future.stays[A])) @ future.weights == pytest.approx(0.2, rel=0.05)


def test_trains_are_told_by_upstream_versions() -> None:
    versions = ("1:6.29.0-1.fc42", "6.29.0-3.fc42", "6.29.1-1", "2-1", "2-5", "")
    numbers = trains(
        [Component(ComponentId("rpm", f"p{n}"), 1, b"", version=v) for n, v in enumerate(versions)]
    )
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 5
    assert upstream("2:9.1.0~rc1+dfsg-2+deb12u1") == "9.1.0~rc1+dfsg"
