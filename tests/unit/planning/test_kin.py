"""Kin: an update of a divided component changes all of its units, or each by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rechunk_podman.model import Component, ComponentId, Part
from rechunk_podman.planning.kin import COMPLETE, Families, of_units, shares
from rechunk_podman.planning.rates import ReleaseTable
from rechunk_podman.planning.scenarios import Forecast


def unit(name: str, part: str = "") -> Component:
    return Component(ComponentId("rpm", name, part), 1000, b"12345678")


def test_an_update_changes_all_units_or_each_by_itself() -> None:
    units = [unit("fw", "/a"), unit("fw", "/b"), unit("other"), unit("web")]
    families = Families.of(units)
    rates = np.array([0.1, 0.05, 0.02])
    future = Forecast(np.full(3, 1000.0), np.log1p(-rates)[:, None], np.ones(1))
    share = np.array([0.9, 0.55, 1.0, 1.0])
    found = of_units(future, np.full(4, 1000.0), families, share)
    chances = 1.0 - np.exp(found.stays)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights[1:].sum() == pytest.approx(rates[0])
    # the last two scenarios are an update of fw
    assert chances[:2, -2] == pytest.approx([0.995, 0.995])
    assert chances[:2, -1] == pytest.approx((share[:2] - COMPLETE) / (1.0 - COMPLETE))
    assert chances[2:, -1] == pytest.approx(rates[1:])
    # each unit changes as often as its component, times its share
    assert chances @ found.weights == pytest.approx([0.09, 0.055, 0.05, 0.02], abs=1e-3)
    # both stay together more often than if they were strangers
    both = np.exp(found.stays[:2].sum(axis=0)) @ found.weights
    assert both > (1 - 0.09) * (1 - 0.055) + 0.02


def test_components_of_one_unit_are_forecast_as_they_are() -> None:
    units = [unit("one"), unit("two")]
    future = Forecast(np.ones(2), np.log(np.full((2, 1), 0.9)), np.ones(1))
    assert of_units(future, np.ones(2), Families.of(units), np.ones(2)) is future


def test_the_first_update_of_an_image_tells_the_units_apart() -> None:
    units = [replace(unit("fw", name), parts=(Part(name, 1000, b"12345678"),)) for name in ("/a", "/b")]
    seen = np.ones((2, 1), dtype=bool)
    past = ReleaseTable(np.array([[True], [False]]), seen, np.full(2, -1), 7.0)
    # one update beside a beginning of 0.6 worth three
    assert shares(units, past, Families.of(units)) == pytest.approx([2.8 / 4, 1.8 / 4])
