"""plan_on_base(): the base's unchanged layers stay, whatever else happens."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechunk_podman.errors import UsageError
from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Plan
from rechunk_podman.planning.ledger import Ledger, decode, encode
from rechunk_podman.planning.on_base import OWN_SHARE, plan_on_base, without_components
from rechunk_podman.planning.plan import plan

NOW = 1_700_000_000
DAY = 86_400


def component(name: str, size: int = 1000, content: int = 0, source: str = "rpm") -> Component:
    return Component(ComponentId(source, name), size, content.to_bytes(8, "big"), version=str(content))


def recorded(components: list[Component], max_layers: int, previous: Ledger | None = None) -> Ledger:
    """The Ledger of an image of these components, written and read again."""
    made = plan(components, previous, max_layers=max_layers, now=NOW)
    return ledger_of(components, made, previous)


def ledger_of(components: list[Component], made: Plan, previous: Ledger | None, date: int = NOW) -> Ledger:
    diff_ids = [f"sha256:{number:064x}" for number in range(len(made.layers))]
    return decode(encode(Ledger.advance(previous, components, made, diff_ids, date=date)))


def members(made: Plan | Ledger) -> list[frozenset[ComponentId]]:
    return [frozenset(layer.components) for layer in made.layers]


BASE = [component(f"package{letter}", 1000 * (1 + ord(letter) - ord("a"))) for letter in "abcdefghij"]
OWN = [component("app", 70_000), component("tool", 500)]


def test_the_bases_layers_come_first_and_in_its_order():
    base = recorded(BASE, 6)
    made = plan_on_base([*BASE, *OWN], None, base, max_layers=16, now=NOW + DAY)
    assert members(made)[: len(base.layers)] == members(base)
    assert set().union(*members(made)[len(base.layers) :]) == {c.id for c in OWN}


def test_a_layer_in_which_something_changed_is_not_the_bases_any_more():
    base = recorded(BASE, 6)
    touched = BASE[3].id
    changed = [replace(c, fingerprint=b"\xff" * 8) if c.id == touched else c for c in BASE]
    made = plan_on_base([*changed, *OWN], None, base, max_layers=16, now=NOW + DAY)
    clean = [group for group in members(base) if touched not in group]
    assert members(made)[: len(clean)] == clean
    assert len(clean) == len(base.layers) - 1


def test_a_layer_of_which_something_is_gone_is_not_the_bases_any_more():
    base = recorded(BASE, 3)
    left = BASE[1:]
    made = plan_on_base([*left, *OWN], None, base, max_layers=16, now=NOW + DAY)
    clean = [group for group in members(base) if BASE[0].id not in group]
    assert members(made)[: len(clean)] == clean


def test_nothing_of_its_own():
    base = recorded(BASE, 6)
    made = plan_on_base(BASE, None, base, max_layers=6, now=NOW + DAY)
    assert members(made) == members(base)
    assert [layer.prefix for layer in made.layers] == [layer.prefix for layer in base.layers]


def test_nothing_at_all():
    assert plan_on_base([], None, recorded(BASE, 6), max_layers=6, now=NOW).layers == ()


def test_where_the_base_fills_all_layers_its_smallest_make_room():
    base = recorded(BASE, 10)
    assert len(base.layers) == 10
    made = plan_on_base([*BASE, *OWN], None, base, max_layers=10, now=NOW + DAY)
    sizes = {c.id: c.size for c in BASE}
    given_up = min(members(base), key=lambda group: sum(sizes[ident] for ident in group))
    assert members(made)[:9] == [group for group in members(base) if group != given_up]
    assert members(made)[9:] == [given_up | {c.id for c in OWN}]


def test_room_is_left_in_proportion():
    packages = [component(f"p{n:02}", 1000 + n) for n in range(64)]
    base = recorded(packages, 64)
    own = [component(f"own{n}", 9000) for n in range(20)]
    made = plan_on_base([*packages, *own], None, base, max_layers=64, now=NOW + DAY)
    kept = [group for group in members(made) if group in members(base)]
    assert len(base.layers) - 64 // OWN_SHARE <= len(kept) <= 63
    assert {frozenset({packages[n].id}) for n in range(20, 64)} <= set(kept)


def test_its_own_record_places_what_is_its_own():
    """Built again with nothing changed, on the same base, the plan is the same."""
    base = recorded(BASE, 6)
    everything = [*BASE, *OWN, component("db", 3000, source="database")]
    first = plan_on_base(everything, None, base, max_layers=8, now=NOW + DAY)
    own = ledger_of(everything, first, base, NOW + DAY)
    assert members(plan_on_base(everything, own, base, max_layers=8, now=NOW + 2 * DAY)) == members(first)


def test_a_new_base_moves_only_what_it_brings():
    """The base was rebuilt with one change: its layers are taken as they are, the image's own stay."""
    base = recorded(BASE, 6)
    everything = [*BASE, *OWN]
    own = ledger_of(everything, plan_on_base(everything, None, base, max_layers=12, now=NOW), base)
    changed = [replace(BASE[0], fingerprint=b"\xff" * 8), *BASE[1:]]
    new_base = recorded(changed, 6, base)
    made = plan_on_base([*changed, *OWN], own, new_base, max_layers=12, now=NOW + DAY)
    assert members(made)[: len(new_base.layers)] == members(new_base)
    assert members(made)[len(new_base.layers) :] == members(own)[len(base.layers) :]


def test_a_base_written_by_other_rules_is_no_base():
    base = replace(recorded(BASE, 6), tar_format=TAR_FORMAT + 1)
    made = plan_on_base([*BASE, *OWN], None, base, max_layers=12, now=NOW)
    assert made == plan([*BASE, *OWN], base, max_layers=12, now=NOW)


def test_without_drops_whole_layers_alone():
    ledger = recorded(BASE, 3)
    alone, several = sorted(ledger.layers, key=lambda layer: len(layer.components))[::2]
    held = {*alone.components, several.components[0]}
    assert without_components(ledger, held).layers == tuple(
        layer for layer in ledger.layers if layer is not alone
    )


def test_wrong_calls():
    base = recorded(BASE, 6)
    with pytest.raises(UsageError):
        plan_on_base(BASE, None, base, max_layers=0, now=NOW)
    with pytest.raises(ValueError, match="two components"):
        plan_on_base([*BASE, BASE[0]], None, base, max_layers=6, now=NOW)


names = st.sampled_from([f"n{number}" for number in range(24)])
images = st.dictionaries(names, st.tuples(st.integers(1, 10**7), st.integers(0, 3)), min_size=1)


def as_components(image: dict[str, tuple[int, int]]) -> list[Component]:
    return [component(name, size, content) for name, (size, content) in image.items()]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=images,
    now=images,
    previous=st.none() | images,
    base_layers=st.integers(1, 24),
    max_layers=st.integers(1, 24),
    seed=st.integers(0, 1000),
)
def test_properties(base, now, previous, base_layers, max_layers, seed):
    """Each component once, at most K layers, none empty, the base's exactly, the order of input no matter."""
    ledger = recorded(as_components(base), base_layers)
    own = None if previous is None else recorded(as_components(previous), max_layers)
    components = as_components(now)
    made = plan_on_base(components, own, ledger, max_layers=max_layers, now=NOW + DAY)
    assert sorted(ident for layer in made.layers for ident in layer.components) == sorted(
        c.id for c in components
    )
    assert len(made.layers) <= max_layers
    assert all(layer.components for layer in made.layers)
    present = {c.id: c for c in components}
    clean = [
        frozenset(layer.components)
        for layer in ledger.layers
        if all(ident in present and not ledger.changed(present[ident]) for ident in layer.components)
    ]
    rest = len(components) - sum(map(len, clean))
    if len(clean) + max(min(rest, max_layers // OWN_SHARE), rest > 0) <= max_layers:
        assert members(made)[: len(clean)] == clean
    random.Random(seed).shuffle(components)
    assert plan_on_base(components, own, ledger, max_layers=max_layers, now=NOW + DAY) == made
