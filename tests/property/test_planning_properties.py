"""Properties of every plan, for any series of images."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.model import Component, ComponentId, Plan
from rechunk_podman.planning.ledger import Ledger, LedgerError, decode, encode
from rechunk_podman.planning.plan import TUNING, plan
from rechunk_podman.planning.rates import Tuning

SOURCES = ("rpm", "dpkg", "kernel", "bigfiles", "unclaimed", "database", "xattr", "filesystem")
WEEK = 604_800
START = 1_700_000_000

names = st.from_regex(r"[a-z]{1,4}(-[a-z0-9]{1,3})?", fullmatch=True)
idents = st.builds(ComponentId, st.sampled_from(SOURCES), names)


@st.composite
def images(draw: st.DrawFn, smallest: int = 1) -> list[Component]:
    found = draw(st.lists(idents, min_size=smallest, max_size=24, unique=True))
    return [
        Component(
            ident,
            size=draw(st.integers(0, 10**9)),
            fingerprint=draw(st.binary(min_size=8, max_size=8)),
            version=draw(st.sampled_from(("", "1.0-1", "2:3~rc1"))),
            changes=tuple(draw(st.lists(st.integers(START - 50 * WEEK, START + 50 * WEEK), max_size=3))),
            interval=draw(st.sampled_from((None, None, 1.0, 365.0))),
        )
        for ident in found
    ]


@st.composite
def successors(draw: st.DrawFn, image: list[Component]) -> list[Component]:
    """The image some updates later: components changed, gone, new, renamed."""
    after = []
    for component in image:
        fate = draw(st.sampled_from(("same", "same", "same", "changed", "resized", "gone", "renamed")))
        if fate == "changed":
            component = replace(component, fingerprint=draw(st.binary(min_size=8, max_size=8)))
        elif fate == "resized":
            component = replace(
                component,
                size=draw(st.integers(0, 10**9)),
                fingerprint=draw(st.binary(min_size=8, max_size=8)),
            )
        elif fate == "renamed":
            component = replace(component, id=ComponentId(component.id.source, component.id.name + "x"))
        if fate != "gone":
            after.append(component)
    after += draw(images(smallest=0))
    return list({component.id: component for component in after}.values()) or image


@st.composite
def histories(draw: st.DrawFn) -> list[list[Component]]:
    series = [draw(images())]
    for _ in range(draw(st.integers(1, 4))):
        series.append(draw(successors(series[-1])))
    return series


tunings = st.sampled_from((TUNING, Tuning(most_bundles=5), Tuning(most_bundles=12)))
"""Real images have fewer components than bundles, mostly; some here have more."""

limits = st.one_of(st.integers(1, 30), st.sampled_from((64, 400)))


def diff_ids(image: list[Component], planned: Plan) -> list[str]:
    known = {component.id: component for component in image}
    return [
        "sha256:"
        + hashlib.sha256(
            b"\0".join(str(i).encode() + known[i].fingerprint for i in sorted(layer.components))
        ).hexdigest()
        for layer in planned.layers
    ]


def advance(previous: Ledger | None, image: list[Component], planned: Plan, date: int) -> Ledger:
    return decode(encode(Ledger.advance(previous, image, planned, diff_ids(image, planned), date=date)))


def check_partition(image: list[Component], planned: Plan, max_layers: int) -> None:
    placed = [ident for layer in planned.layers for ident in layer.components]
    assert sorted(placed) == sorted(component.id for component in image)
    assert 1 <= len(planned.layers) <= max_layers
    assert all(layer.components for layer in planned.layers)
    assert all(0.0 <= layer.rate <= 1.0 and layer.fee >= 0.0 for layer in planned.layers)


def check_clean(previous: Ledger, image: list[Component], planned: Plan) -> None:
    """A layer in which nothing changed keeps its components and relative place, or has its fee named."""
    known = {component.id: component for component in image}
    kept: list[int] = []
    new_sets = {frozenset(layer.components): at for at, layer in enumerate(planned.layers)}
    for layer in previous.layers:
        clean = all(ident in known and not previous.changed(known[ident]) for ident in layer.components)
        if not clean:
            continue
        at = new_sets.get(frozenset(layer.components))
        if at is not None:
            kept.append(at)
            continue
        homes = [new for new in planned.layers if set(new.components) & set(layer.components)]
        assert all(home.fee > 0.0 for home in homes)
        assert planned.notes
    assert kept == sorted(kept)
    assert kept == list(range(len(kept)))


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_every_plan_of_a_series_is_a_partition_that_spares_clean_layers(
    series: list[list[Component]], data: st.DataObject
) -> None:
    ledger = None
    max_layers, tuning = data.draw(limits), data.draw(tunings)
    for number, image in enumerate(series):
        if data.draw(st.integers(0, 3)) == 0:
            max_layers = data.draw(limits)
        now = START + number * WEEK
        planned = plan(image, ledger, max_layers=max_layers, now=now, tuning=tuning)
        check_partition(image, planned, max_layers)
        shuffled = data.draw(st.permutations(image))
        assert plan(shuffled, ledger, max_layers=max_layers, now=now, tuning=tuning) == planned
        if ledger is not None:
            check_clean(ledger, image, planned)
        ledger = advance(ledger, image, planned, now)


@settings(max_examples=30, deadline=None)
@given(histories(), limits, st.integers(0, 10**7), tunings)
def test_an_image_in_which_nothing_changed_is_planned_and_recorded_the_same(
    series: list[list[Component]], max_layers: int, later: int, tuning: Tuning
) -> None:
    ledger = None
    for number, image in enumerate(series):
        now = START + number * WEEK
        planned = plan(image, ledger, max_layers=max_layers, now=now, tuning=tuning)
        ledger = advance(ledger, image, planned, now)
        again = plan(image, ledger, max_layers=max_layers, now=now + later, tuning=tuning)
        assert [layer.components for layer in again.layers] == [layer.components for layer in planned.layers]
        assert [layer.rate for layer in again.layers] == [layer.rate for layer in planned.layers]
        assert all(layer.fee == 0.0 for layer in again.layers)
        assert advance(ledger, image, again, now + later) == ledger


@settings(max_examples=30, deadline=None)
@given(images(), limits, limits)
def test_more_layers_are_used_and_fewer_obeyed_when_nothing_else_changed(
    image: list[Component], first: int, second: int
) -> None:
    planned = plan(image, None, max_layers=first, now=START)
    check_partition(image, planned, first)
    ledger = advance(None, image, planned, START)
    check_partition(image, plan(image, ledger, max_layers=second, now=START + WEEK), second)


@settings(max_examples=60, deadline=None)
@given(images(smallest=8), st.integers(1, 6), st.data())
def test_a_plan_of_bundles_is_complete_and_keeps_what_did_not_change(
    image: list[Component], most: int, data: st.DataObject
) -> None:
    """Every release has more components than bundles."""
    tuning, max_layers = Tuning(most_bundles=most), data.draw(st.integers(1, 12))
    planned = plan(image, None, max_layers=max_layers, now=START, tuning=tuning)
    ledger = advance(None, image, planned, START)
    for number in range(1, 4):
        now = START + number * WEEK
        touched = data.draw(st.sets(st.sampled_from([component.id for component in image]), max_size=3))
        image = [
            replace(component, fingerprint=f"{number:08}".encode()) if component.id in touched else component
            for component in image
        ]
        planned = plan(image, ledger, max_layers=max_layers, now=now, tuning=tuning)
        check_partition(image, planned, max_layers)
        check_clean(ledger, image, planned)
        ledger = advance(ledger, image, planned, now)


@settings(max_examples=30, deadline=None)
@given(histories())
def test_a_ledger_survives_its_encoding(series: list[list[Component]]) -> None:
    ledger = None
    for number, image in enumerate(series):
        planned = plan(image, ledger, max_layers=8, now=START + number * WEEK)
        ledger = Ledger.advance(ledger, image, planned, diff_ids(image, planned), date=START + number * WEEK)
        text = encode(ledger)
        assert decode(text) == ledger
        assert encode(decode(text)) == text
        assert text.isascii()
        assert "\n" not in text


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=300).map(lambda data: "RL1:" + data.hex())))
def test_nonsense_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(LedgerError) as caught:
        decode(text)
    assert caught.value.reason in ("missing", "truncated", "other format", "nonsense")
