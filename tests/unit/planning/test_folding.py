"""Folding: the Ledger of any image is small and readable, and what did not change stays where it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.build import image_ledger as record
from rechunk_podman.model import Component, ComponentId, Part, Placement
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.spec import MEDIA_LAYER, Descriptor, DiffId, Digest, Layer
from rechunk_podman.planning.folding import FIRST_ROOM, ROOM, fold, unfold
from rechunk_podman.planning.layout import LARGEST_LAYER, Layout, lay_out
from rechunk_podman.planning.ledger import FOLDED, Ledger, decode

START, WEEK = 1_700_000_000, 604_800
LIMIT = LARGEST_LAYER
KIB = 1024


def component(name: str, content: object = 1, size: int = 30_000, source: str = "npm") -> Component:
    fingerprint = sha256(f"{source}/{name} {content}".encode()).digest()[:8]
    return Component(ComponentId(source, name), size, fingerprint, version=f"{len(name)}.{content}")


def packages(count: int, seed: int = 1) -> list[Component]:
    """Return packages with names and sizes of real shape: most are small, a few large."""
    chance = random.Random(seed)
    words = ["babel", "plugin", "core", "util", "stream", "is", "string", "react", "type", "lodash", "parse"]
    names = (f"{chance.choice(words)}-{chance.choice(words)}-{number:x}" for number in range(count))
    return [component(name, size=int(chance.lognormvariate(10.2, 1.5)) + 1024) for name in names]


def released(
    image: Sequence[Component], previous: Ledger | None, number: int, max_layers: int = 64
) -> tuple[Layout, Ledger, int]:
    """Return the layout, the Ledger as it is read from the image, and the bytes that it and comments have."""
    now = START + number * WEEK
    layout = lay_out(image, previous, max_layers=max_layers, now=now)
    units = {unit.id: unit for unit in layout.units}
    layers = []
    for planned in layout.plan.layers:
        content = b"".join(units[ident].fingerprint for ident in planned.components)
        diff_id = "sha256:" + sha256(content).hexdigest()
        layers.append(Layer(DiffId(diff_id), Descriptor(MEDIA_LAYER, Digest(diff_id), 1, {}), 1))
    ledger = Ledger.advance(
        layout.memory, layout.units, layout.plan, [layer.diff_id for layer in layers], date=now
    )
    history = record.layer_history(layout.plan, units, layers)
    _, history = record.with_ledger(ImageConfig(), history, ledger)
    return layout, decode(history[-1].comment), sum(len(entry.comment) for entry in history)


def changed(image: Sequence[Component], numbers: Sequence[int], content: object) -> list[Component]:
    """Return the image with other contents of some components."""
    found = list(image)
    for number in numbers:
        old = found[number]
        found[number] = replace(old, fingerprint=sha256(f"{old.id} {content}".encode()).digest()[:8])
    return found


def test_a_hundred_thousand_components_twice() -> None:
    image = packages(100_000)
    first, ledger, size = released(image, None, 0)
    assert size <= 40 * KIB
    assert sum(max(entry.count, 1) for entry in ledger.components.values()) == len(image)
    assert sorted(one.id for one in unfold(first.units)) == sorted(one.id for one in image)
    # those that keep a record of their own are the larger ones
    alone = [unit.size for unit in first.units if not unit.members]
    assert len(alone) > 500
    assert min(alone) > sorted(one.size for one in image)[-2 * len(alone)]
    again, same, _ = released(image, ledger, 1)
    assert again.plan.layers == ledger.layers
    assert same == ledger
    # an update of two small components: at most two layers change
    small = sorted(range(len(image)), key=lambda number: image[number].size)
    image = changed(image, small[:2], "new")
    update, ledger, size = released(image, ledger, 1)
    assert size <= 40 * KIB
    kept = [layer for layer in update.plan.layers if layer.prefix]
    assert len(kept) >= len(first.plan.layers) - 2
    assert len(ledger.dates) == 2


@pytest.mark.parametrize("layers", [64, 120, 400])
def test_twelve_hundred_components_with_parts_have_their_records(layers: int) -> None:
    image = packages(1200)
    # 40 components of 6 MiB and more, in 600 parts
    for number in range(40):
        names = [f"/usr/lib/{image[number].id.name}/part{at}" for at in range(15)]
        parts = tuple(Part(name, 400 * KIB, sha256(name.encode()).digest()[:8]) for name in names)
        image[number] = replace(image[number], parts=parts, size=15 * 400 * KIB)
    ledger = None
    for release in range(4):
        for number in range(release % 2, 40, 2):
            old = image[number].parts
            parts = (replace(old[0], fingerprint=sha256(f"{release}".encode()).digest()[:8]), *old[1:])
            image[number] = replace(changed([image[number]], [0], release)[0], parts=parts)
        image = changed(image, range(40 + release, 1200, 30), release)
        layout, ledger, size = released(image, ledger, release, layers)
        assert size <= 40 * KIB
        assert not any(unit.members for unit in layout.units)
    assert ledger is not None
    assert len({ident.whole for ident in ledger.components}) == 1200
    assert len(ledger.components) >= 1240
    assert all(entry.parts for ident, entry in ledger.components.items() if ident.part)


@pytest.mark.parametrize("name", ["{0:x}", "{1}", "{1}/{1}/{1}/{1}"])
def test_names_of_any_kind_leave_the_ledger_small(name: str) -> None:
    hashes = [sha256(str(number).encode()).hexdigest() for number in range(5000)]
    image = [component(name.format(number, text)) for number, text in enumerate(hashes)]
    ledger = None
    for release in range(3):
        _, ledger, size = released(image, ledger, release)
        assert size <= 40 * KIB
        image = changed(image, range(release, 5000, 100), release)


def test_a_new_component_leaves_its_fold_as_it_was() -> None:
    image = packages(4000)
    _, ledger, _ = released(image, None, 0)
    for new in (["a-new-one"], ["a-new-one", "another"]):
        layout, after, _ = released([*image, *map(component, new)], ledger, 1)
        units = {unit.id: unit for unit in layout.units}
        assert all(not ledger.changed(units[ident]) for ident in ledger.components)
        assert {ident.name for ident in after.components} - {
            ident.name for ident in ledger.components
        } == set(new)


def test_what_left_a_fold_does_not_return() -> None:
    image = packages(4000)
    _, ledger, _ = released(image, None, 0)
    folded = {one.id for unit in fold(image, ledger, None, LIMIT) for one in unit.members}
    number = next(at for at, one in enumerate(image) if one.id in folded)
    image = changed(image, [number], "new")
    second, ledger, _ = released(image, ledger, 1)
    own = {unit.id for unit in second.units}
    assert image[number].id in own
    third, _, _ = released(changed(image, [number], "newer"), ledger, 2)
    # now its change is a change of no fold
    assert {unit.id for unit in third.units} == own
    moved = [unit for unit in third.units if ledger.changed(unit)]
    assert [unit.id for unit in moved] == [image[number].id]


def test_a_base_image_keeps_its_layers_below_more_components() -> None:
    image = packages(6000)
    layout, base, _ = released(image, None, 0)
    own = [*image, *(component(f"own-{number}", size=500_000) for number in range(5))]
    derived = lay_out(own, None, base, max_layers=80, now=START + WEEK)
    assert [layer.prefix for layer in derived.plan.layers[: len(base.layers)]] == [
        layer.prefix for layer in base.layers
    ]
    assert len(base.layers) == len(layout.plan.layers)


def test_few_components_are_not_folded_and_placed_ones_never_are() -> None:
    image = packages(900)
    assert fold(image, None, None, LIMIT) == image
    many = packages(5000)
    placed = replace(component("placed", size=1024), placement=Placement.ALONE)
    units = fold(sorted([*many, placed], key=lambda one: one.id), None, None, LIMIT)
    assert placed in units
    assert FIRST_ROOM < ROOM


def test_no_fold_is_larger_than_a_layer_may_be() -> None:
    image = packages(8000)
    limit = 4_000_000
    small = [one for one in image if one.size < limit // 8]
    folds = [unit for unit in fold(small, None, None, limit) if unit.members]
    assert folds
    assert max(unit.size for unit in folds) <= limit


names = st.integers(0, 2500)


@given(gone=st.sets(names, max_size=5), touched=st.sets(names, max_size=5), more=st.integers(0, 4))
@settings(max_examples=10, deadline=None)
def test_every_component_is_in_one_unit(gone: set[int], touched: set[int], more: int) -> None:
    image = packages(2501)
    _, ledger, _ = released(image, None, 0)
    after = changed(image, sorted(touched), "new")
    after = [one for number, one in enumerate(after) if number not in gone]
    after += [component(f"more-{number}") for number in range(more)]
    layout, _, size = released(after, ledger, 1)
    backwards = lay_out(after[::-1], ledger, max_layers=64, now=START + WEEK)
    assert backwards.plan == layout.plan
    assert sorted(one.id for one in unfold(layout.units)) == sorted(one.id for one in after)
    assert size <= 40 * KIB
    hit = [unit for unit in layout.units if unit.id in ledger.components and ledger.changed(unit)]
    assert len(hit) <= len(gone) + len(touched) + more


def test_a_fold_holds_the_positions_of_its_members() -> None:
    image = [replace(one, positions=np.array([at])) for at, one in enumerate(packages(3000))]
    units = fold(sorted(image, key=lambda one: one.id), None, None, LIMIT)
    assert sorted(np.concatenate([unit.positions for unit in units]).tolist()) == list(range(3000))
    assert {unit.id.source for unit in units if unit.members} == {FOLDED}
