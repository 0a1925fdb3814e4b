"""The promise of isolated and pinned components: it holds in every plan, whatever was recorded before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.errors import UsageError
from rechunk_podman.model import Component, ComponentId, Placement, Plan
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.planning.on_base import plan_on_base
from rechunk_podman.planning.plan import TUNING, plan
from rechunk_podman.planning.rates import Tuning

WEEK = 604_800
START = 1_700_000_000

tunings = st.sampled_from((TUNING, Tuning(most_bundles=5)))


@st.composite
def images(draw: st.DrawFn, before: Sequence[Component] = ()) -> list[Component]:
    """An image; of one that follows another, some components changed, and others have another placement."""
    old = {component.id: component for component in before}
    names = draw(st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True))
    found = []
    for name in names:
        ident = ComponentId("groups" if name % 3 == 0 else "rpm", f"n{name}")
        component = old.get(ident)
        if component is None or draw(st.booleans()):
            component = Component(ident, draw(st.integers(0, 10**9)), draw(st.binary(min_size=8, max_size=8)))
        placement = draw(st.sampled_from((*[Placement.SHARED] * 5, *Placement)))
        found.append(replace(component, placement=placement))
    return found


def needed(image: Sequence[Component]) -> int:
    alone = sum(component.placement is not Placement.SHARED for component in image)
    return alone + (alone < len(image))


def check(image: Sequence[Component], planned: Plan, max_layers: int, base: int = 0) -> None:
    """Check the partition and the promise; the lowest `base` layers are those of a base image."""
    placements = {component.id: component.placement for component in image}
    assert sorted(ident for layer in planned.layers for ident in layer.components) == sorted(placements)
    assert len(planned.layers) <= max_layers
    orders = []
    for layer in planned.layers:
        kinds = [placements[ident] for ident in layer.components]
        assert kinds == [kinds[0]] if kinds[0] is not Placement.SHARED else set(kinds) == {Placement.SHARED}
        orders.append({Placement.BOTTOM: 0, Placement.TOP: 2}.get(kinds[0], 1))
    assert orders[base:] == sorted(orders[base:])


def advance(previous: Ledger | None, image: Sequence[Component], planned: Plan, now: int) -> Ledger:
    prints = {component.id: component.fingerprint for component in image}
    diff_ids = [
        "sha256:" + hashlib.sha256(repr([prints[i] for i in layer.components]).encode()).hexdigest()
        for layer in planned.layers
    ]
    return Ledger.advance(previous, image, planned, diff_ids, date=now)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_an_isolated_component_has_a_layer_of_its_own_in_every_plan_of_a_series(data: st.DataObject) -> None:
    ledger: Ledger | None = None
    image: list[Component] = []
    tuning = data.draw(tunings)
    for number in range(data.draw(st.integers(1, 4))):
        image = data.draw(images(image))
        max_layers = needed(image) + data.draw(st.integers(0, 6))
        now = START + number * WEEK
        planned = plan(image, ledger, max_layers=max_layers, now=now, tuning=tuning)
        check(image, planned, max_layers)
        shuffled = data.draw(st.permutations(image))
        assert plan(shuffled, ledger, max_layers=max_layers, now=now, tuning=tuning) == planned
        ledger = advance(ledger, image, planned, now)
        again = plan(image, ledger, max_layers=max_layers, now=now, tuning=tuning)
        assert [layer.components for layer in again.layers] == [layer.components for layer in planned.layers]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_promise_holds_on_the_layers_of_a_base(data: st.DataObject) -> None:
    below = data.draw(images())
    planned = plan(below, None, max_layers=max(needed(below), 8), now=START)
    base = advance(None, below, planned, START)
    image = data.draw(images(below))
    max_layers = needed(image) + data.draw(st.integers(0, 12))
    made = plan_on_base(image, None, base, max_layers=max_layers, now=START + WEEK)
    kept = 0
    bases = [layer.components for layer in base.layers]
    pinned = {component.id for component in image if component.placement is Placement.TOP}
    for layer in made.layers:
        if not layer.prefix or layer.components not in bases or pinned & set(layer.components):
            break
        kept += 1
    check(image, made, max_layers, base=kept)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_too_few_layers_are_an_error_that_says_how_many_are_needed(data: st.DataObject) -> None:
    image = data.draw(images())
    ledger = None
    if data.draw(st.booleans()):
        ledger = advance(None, image, plan(image, None, max_layers=40, now=START), START)
    for max_layers in range(1, needed(image)):
        with pytest.raises(UsageError, match=f"need {needed(image)} layers"):
            plan(image, ledger, max_layers=max_layers, now=START)


def test_a_component_that_becomes_isolated_leaves_its_layer() -> None:
    """If the placement alone changed, the layer that it shared is packed anew without it."""
    image = [Component(ComponentId("rpm", name), 10**6, name.encode() * 8) for name in "abcdef"]
    planned = plan(image, None, max_layers=4, now=START)
    ledger = advance(None, image, planned, START)
    image[2] = replace(image[2], placement=Placement.TOP)
    after = plan(image, ledger, max_layers=5, now=START)
    assert after.layers[-1].components == (image[2].id,)
    untouched = [layer for layer in ledger.layers if image[2].id not in layer.components]
    assert [layer for layer in after.layers if layer.prefix == untouched[0].prefix]
