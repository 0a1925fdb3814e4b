"""A switch from another tool, on real histories: the adopted layers soon cost next to nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.planning.families import stateless_layers
from rechunk_podman.planning.history import parse_history
from support.switching import stay, switch

HISTORIES = Path(__file__).parents[2] / "data" / "histories"


@pytest.mark.parametrize("name", ["aks-azurelinux3", "swag-alpine"])
def test_after_ten_updates_it_costs_what_a_series_of_ours_costs(name: str) -> None:
    """Two switches each: the second update is no expensive one, and the last five are within a tenth."""
    releases = parse_history((HISTORIES / f"{name}.json.xz").read_bytes()).releases
    starts = (0, len(releases) // 2)
    theirs = [switch(releases[start : start + 12], 64) for start in starts]
    ours = [stay(releases[start : start + 12], 64) for start in starts]
    assert [len(series) for series in (*theirs, *ours)] == [11] * 4
    assert sum(sum(series[-5:]) for series in theirs) <= 1.1 * sum(sum(series[-5:]) for series in ours)
    assert sum(sum(series[1:]) for series in theirs) <= 1.1 * sum(sum(series[1:]) for series in ours)


@pytest.mark.parametrize("others", [48, 56])
def test_the_first_plan_beside_large_layers_divides_the_small_ones(others: int) -> None:
    """Kept layers hold large components, so fewer of the rest are alone, and more layers share the others."""
    chance = random.Random(1)
    names = (ComponentId("rpm", f"{chance.randbytes(4).hex()}") for _ in range(120))
    rest = [Component(ident, round(chance.lognormvariate(12, 1.2)), b"") for ident in names]

    def cost(groups: list[list[Component]]) -> int:
        return sum(sum(one.size for one in group) * len(group) for group in groups)

    beside = stateless_layers(rest, 64 - others, others)
    assert sorted(one.id for group in beside for one in group) == sorted(one.id for one in rest)
    assert len(beside) <= 64 - others
    assert cost(beside) < 0.8 * cost(stateless_layers(rest, 64 - others))
