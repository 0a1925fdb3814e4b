"""Units: an update of some parts divides a component; the Ledger carries what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.errors import UsageError
from rechunk_podman.model import (
    TAR_FORMAT,
    Component,
    ComponentId,
    Part,
    PartKind,
    Placement,
    PlannedLayer,
)
from rechunk_podman.planning.layout import SPARE, Kept, Layout, lay_out
from rechunk_podman.planning.ledger import Ledger, decode, encode
from rechunk_podman.planning.units import MOST_UNITS

MB = 1_000_000
START, WEEK = 1_700_000_000, 604_800
NAMES = tuple(f"/usr/lib/{name}" for name in ("amd", "intel", "nvidia", "qcom", "ti"))


def digest(*words: object) -> bytes:
    return sha256(repr(words).encode()).digest()[:8]


def parted(
    name: str, contents: Sequence[int], kinds: Sequence[PartKind] = (), size: int = 2 * MB
) -> Component:
    """Return a component whose parts have these contents; 0 is a part that is not there."""
    parts = tuple(
        Part(part, size, digest(part, content), kind)
        for part, content, kind in zip(
            NAMES, contents, kinds or [PartKind.DATA] * len(contents), strict=False
        )
        if content
    )
    whole = digest(name, contents)
    return Component(ComponentId("rpm", name), size * len(parts), whole, version=str(contents), parts=parts)


def plain(number: int) -> Component:
    return Component(ComponentId("rpm", f"p{number:03}"), 100_000 + number, digest(number), version="1")


OTHERS = [plain(number) for number in range(40)]


def released(
    image: Sequence[Component], previous: Ledger | None, number: int, max_layers: int = 30
) -> tuple[Layout, Ledger]:
    """Return the layout of a release and the Ledger of its image, as it is read from there."""
    now = START + number * WEEK
    layout = lay_out(image, previous, max_layers=max_layers, now=now)
    units = {unit.id: unit for unit in layout.units}
    diff_ids = [
        "sha256:" + sha256(b"".join(units[ident].fingerprint for ident in layer.components)).hexdigest()
        for layer in layout.plan.layers
    ]
    ledger = Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=now)
    return layout, decode(encode(ledger))


def names_of(layout: Layout, name: str) -> set[frozenset[str]]:
    """Return the parts of each unit of a component."""
    return {frozenset(part.name for part in unit.parts) for unit in layout.units if unit.id.name == name}


def sets(*groups: str) -> set[frozenset[str]]:
    return {frozenset(NAMES[int(number)] for number in group) for group in groups}


def test_an_update_of_some_parts_divides_and_another_is_downloaded_alone() -> None:
    image = [parted("fw", [1, 1, 1, 1, 1]), *OTHERS]
    first, ledger = released(image, None, 0)
    assert [unit.id.part for unit in first.units] == [""] * len(image)
    assert first.plan == lay_out(image, None, max_layers=30, now=START, parts=False).plan
    second, ledger = released([parted("fw", [2, 1, 1, 1, 1]), *OTHERS], ledger, 1)
    assert names_of(second, "fw") == sets("0", "1234")
    third, after = released([parted("fw", [3, 1, 1, 1, 1]), *OTHERS], ledger, 2)
    assert names_of(third, "fw") == sets("0", "1234")
    old = {layer.prefix for layer in ledger.layers}
    new = [layer for layer in third.plan.layers if layer.prefix not in old]
    held = [ident for layer in new for ident in layer.components if ident.name == "fw"]
    assert [ident.part for ident in held] == [NAMES[0]]
    record = after.components[ComponentId("rpm", "fw", NAMES[0])]
    assert (record.changes, record.age) == (0b111, 3)
    assert after.components[ComponentId("rpm", "fw", NAMES[1])].changes == 0b001 << 2
    # the same again: nothing moves, the text is the same
    again, same = released([parted("fw", [3, 1, 1, 1, 1]), *OTHERS], after, 3)
    assert again.plan.layers == after.layers
    assert encode(same) == encode(after)


def test_parts_of_different_kinds_are_different_units() -> None:
    kinds = [PartKind.PROGRAMS, PartKind.PROGRAMS, PartKind.DATA, PartKind.DATA, PartKind.NOTES]
    _, ledger = released([parted("fw", [1] * 5, kinds), *OTHERS], None, 0)
    second, ledger = released([parted("fw", [2, 2, 1, 1, 2], kinds), *OTHERS], ledger, 1)
    assert names_of(second, "fw") == sets("01", "23", "4")


def test_parts_that_always_change_together_stay_one_unit() -> None:
    ledger = None
    for number in range(4):
        layout, ledger = released([parted("web", [number + 1] * 5), *OTHERS], ledger, number)
        assert [unit.id.part for unit in layout.units if unit.id.name == "web"] == [""]


def test_what_did_not_change_is_in_units_of_neighbours() -> None:
    _, ledger = released([parted("fw", [1] * 5, size=20 * MB), *OTHERS], None, 0)
    image = [parted("fw", [1, 1, 2, 1, 1], size=20 * MB), *OTHERS]
    second, ledger = released(image, ledger, 1)
    assert names_of(second, "fw") == sets("2", "0", "1", "3", "4")
    image[0] = parted("fw", [1, 2, 2, 1, 1], size=20 * MB)
    third, _ = released(image, ledger, 2)
    old = {layer.prefix for layer in ledger.layers}
    new = [ident for layer in third.plan.layers if layer.prefix not in old for ident in layer.components]
    assert [ident.part for ident in new if ident.name == "fw"] == [NAMES[1]]
    # many small parts are in few units
    parts = tuple(Part(f"/part{number:03}", MB, digest(number)) for number in range(200))
    component = Component(ComponentId("rpm", "many"), 200 * MB, digest("many"), parts=parts)
    _, ledger = released([component, *OTHERS], None, 0)
    changed = (replace(parts[0], fingerprint=digest("other")), *parts[1:])
    image = [replace(component, fingerprint=digest("others"), parts=changed), *OTHERS]
    layout, _ = released(image, ledger, 1)
    units = [unit for unit in layout.units if unit.id.name == "many"]
    assert len(units) == 1 + MOST_UNITS
    names = sorted([part.name for part in unit.parts] for unit in units)
    assert [name for unit in names for name in unit] == [part.name for part in parts]


def test_programs_that_did_not_change_are_one_unit() -> None:
    kinds = [PartKind.DATA, PartKind.PROGRAMS, PartKind.PROGRAMS, PartKind.PROGRAMS, PartKind.DATA]
    _, ledger = released([parted("fw", [1] * 5, kinds, 20 * MB), *OTHERS], None, 0)
    second, _ = released([parted("fw", [2, 1, 1, 1, 1], kinds, 20 * MB), *OTHERS], ledger, 1)
    assert names_of(second, "fw") == sets("0", "123", "4")


def test_what_nearly_nothing_of_stays_is_not_divided() -> None:
    def browser(number: int, stays: int) -> Component:
        parts = (
            Part("/usr/lib/web", 100 * MB - stays, digest(number), PartKind.PROGRAMS),
            Part("/usr/share/web", stays, digest("the same")),
        )
        return Component(ComponentId("rpm", "web"), 100 * MB, digest(number, "web"), parts=parts)

    for stays, units in ((6 * MB, 1), (7 * MB, 2)):
        _, ledger = released([browser(1, stays), *OTHERS], None, 0)
        layout, ledger = released([browser(2, stays), *OTHERS], ledger, 1)
        assert len(names_of(layout, "web")) == units
        layout, _ = released([browser(3, stays), *OTHERS], ledger, 2)
        assert len(names_of(layout, "web")) == units


def test_a_new_build_of_the_same_files_is_downloaded_once() -> None:
    component = parted("fw", [1] * 5)
    _, ledger = released([component, *OTHERS], None, 0)
    for number in (1, 2, 3):
        rebuilt = replace(component, fingerprint=digest(number), version=str(number))
        layout, ledger = released([rebuilt, *OTHERS], ledger, number)
    assert layout.plan.layers == ledger.layers
    assert all(unit.id.part for unit in layout.units if unit.id.name == "fw")


def test_parts_come_and_go() -> None:
    _, ledger = released([parted("fw", [1, 1, 1, 1, 0]), *OTHERS], None, 0)
    _, ledger = released([parted("fw", [2, 1, 1, 1, 0]), *OTHERS], ledger, 1)
    layout, ledger = released([parted("fw", [2, 0, 1, 1, 1]), *OTHERS], ledger, 2)
    assert names_of(layout, "fw") == sets("0", "23", "4")
    kept = [layer for layer in layout.plan.layers if layer.prefix and layer.components[0].name == "fw"]
    assert [layer.components[0].part for layer in kept] == [NAMES[0]]
    # without parts the component is one unit again
    layout, _ = released([replace(parted("fw", [2, 0, 1, 1, 1]), parts=()), *OTHERS], ledger, 3)
    assert [unit.id.part for unit in layout.units if unit.id.name == "fw"] == [""]


def test_a_component_that_must_be_alone_is_not_divided() -> None:
    alone = replace(parted("fw", [1] * 5), placement=Placement.ALONE)
    _, ledger = released([alone, *OTHERS], None, 0)
    changed = replace(parted("fw", [2, 1, 1, 1, 1]), placement=Placement.ALONE)
    layout, _ = released([changed, *OTHERS], ledger, 1)
    assert [unit.id.part for unit in layout.units if unit.id.name == "fw"] == [""]


def test_another_tar_format_keeps_the_units_and_their_records() -> None:
    _, ledger = released([parted("fw", [1] * 5), *OTHERS], None, 0)
    image = [parted("fw", [2, 1, 1, 1, 1]), *OTHERS]
    _, ledger = released(image, ledger, 1)
    layout, after = released(image, replace(ledger, tar_format=TAR_FORMAT + 1), 2)
    assert names_of(layout, "fw") == sets("0", "1234")
    assert after.components.keys() == ledger.components.keys()


def test_a_derived_image_keeps_the_units_of_its_base() -> None:
    _, base = released([parted("fw", [1] * 5), *OTHERS], None, 0)
    image = [parted("fw", [2, 1, 1, 1, 1]), *OTHERS]
    _, base = released(image, base, 1)
    own = [*image, plain(100)]
    layout = lay_out(own, None, base, max_layers=40, now=START + 2 * WEEK)
    assert [layer.prefix for layer in layout.plan.layers[: len(base.layers)]] == [
        x.prefix for x in base.layers
    ]
    diff_ids = [f"sha256:{number:064x}" for number in range(len(layout.plan.layers))]
    previous = Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=START + 2 * WEEK)
    _, base = released([parted("fw", [3, 1, 1, 1, 1]), *OTHERS], base, 2)
    own[0] = parted("fw", [3, 1, 1, 1, 1])
    layout = lay_out(own, previous, base, max_layers=40, now=START + 3 * WEEK)
    assert [layer.prefix for layer in layout.plan.layers[: len(base.layers)]] == [
        x.prefix for x in base.layers
    ]


@pytest.mark.parametrize("max_layers", [8, 12, 20, 30, 40, 64])
def test_a_first_division_moves_no_more_than_whole_components(max_layers: int) -> None:
    """It keeps the layers that whole components would keep, and makes no more of them."""
    before = [parted(f"fw{number}", [1] * 5) for number in range(6)]
    after = [parted(f"fw{number}", [2, 1, 1, 1, 1]) for number in range(6)]
    _, ledger = released([*before, *OTHERS], None, 0, max_layers)
    image = [*after, *OTHERS[:-3], *(plain(number) for number in range(100, 103))]
    now = START + WEEK
    whole = lay_out(image, ledger, max_layers=max_layers, now=now, parts=False)
    found = lay_out(image, ledger, max_layers=max_layers, now=now)
    assert any(unit.id.part for unit in found.units)
    kept, kept_whole = ({layer.prefix for layer in layout.plan.layers} for layout in (found, whole))
    assert kept_whole <= kept
    assert len(found.plan.layers) <= max(len(whole.plan.layers), max_layers - max_layers // 8)


def test_parts_leave_layers_to_derived_images() -> None:
    """If there are fewer components than layers, an image that is derived keeps all layers of its base."""
    max_layers, ledger = 16, None
    for number in range(6):
        contents = [[1 + (number + step) // (step + 1) for step in range(5)], [1 + number, 1, 1, 1, 1]]
        image = [*(parted(f"fw{index}", some) for index, some in enumerate(contents)), *OTHERS[:8]]
        layout, ledger = released(image, ledger, number, max_layers)
    assert sum(bool(unit.id.part) for unit in layout.units) > 4
    assert 10 < len(layout.plan.layers) <= 14
    derived = lay_out([*image, plain(100)], None, ledger, max_layers=max_layers, now=START + 7 * WEEK)
    prefixes = [layer.prefix for layer in ledger.layers]
    assert [layer.prefix for layer in derived.plan.layers] == [*prefixes, b""]


def test_kept_layers_are_not_divided_and_what_is_above_them_is() -> None:
    own, foreign = parted("own", [1] * 5), parted("foreign", [1] * 5)
    kept = Kept([(b"foreign!", (foreign.id,))], [b"foreign!"])

    def planned(image: list[Component], previous: Ledger | None, number: int) -> tuple[Layout, Ledger]:
        now = START + number * WEEK
        layout = lay_out(image, previous, kept=kept, max_layers=12, now=now, max_layer_size=30 * MB)
        diff_ids = [f"sha256:{(layer.prefix or bytes(8)).hex()}{number:048x}" for layer in layout.plan.layers]
        return layout, Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=now)

    layout, ledger = planned([own, foreign, *OTHERS], None, 0)
    assert layout.plan.layers[0].components == (foreign.id,)
    layout, ledger = planned([parted("own", [2, 1, 1, 1, 1]), foreign, *OTHERS], ledger, 1)
    assert layout.plan.layers[0] == PlannedLayer((foreign.id,), layout.plan.layers[0].rate, b"foreign!")
    assert names_of(layout, "own") == sets("0", "1234")
    assert names_of(layout, "foreign") == {frozenset()}


@pytest.mark.parametrize("parts", [True, False])
def test_no_layer_is_larger_than_the_limit(parts: bool) -> None:
    image = [parted("fw", [1] * 5, size=5 * MB), *OTHERS, *(plain(number) for number in range(100, 140))]
    limit = 11 * MB
    layout = lay_out(image, None, max_layers=20, now=START, parts=parts, max_layer_size=limit)
    sizes = {unit.id: unit.size for unit in layout.units}
    assert max(sum(sizes[ident] for ident in layer.components) for layer in layout.plan.layers) <= limit
    assert sum(sizes.values()) == sum(component.size for component in image)
    # a part is never cut: it is one file, or small
    single = lay_out(image, None, max_layers=20, now=START, max_layer_size=2 * MB)
    assert max(unit.size for unit in single.units) == 5 * MB
    with pytest.raises(UsageError, match="cannot hold the image"):
        lay_out(image, None, max_layers=2, now=START, max_layer_size=limit)
    assert limit // SPARE > 0


contents = st.lists(st.integers(0, 2), min_size=5, max_size=5).filter(any)


@given(series=st.lists(st.tuples(contents, contents), min_size=2, max_size=6), layers=st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_every_part_is_in_one_unit_and_every_unit_in_one_layer(
    series: list[tuple[list[int], list[int]]], layers: int
) -> None:
    ledger = None
    for number, (one, other) in enumerate(series):
        image = [parted("fw", one, size=5 * MB), parted("other", other, size=5 * MB), *OTHERS[:10]]
        backwards = lay_out(image[::-1], ledger, max_layers=layers, now=START + number * WEEK)
        layout, ledger = released(image, ledger, number, layers)
        assert backwards == layout
        for component in image[:2]:
            units = [unit for unit in layout.units if unit.id.whole == component.id]
            held = [part for unit in units for part in unit.parts]
            assert sorted(held, key=lambda part: part.name) == list(component.parts)
        planned = [ident for layer in layout.plan.layers for ident in layer.components]
        assert sorted(planned) == sorted(unit.id for unit in layout.units)
        assert len(layout.plan.layers) <= layers
        assert set(ledger.components) == set(planned)
        # the same image again
        assert (
            lay_out(image, ledger, max_layers=layers, now=START + number * WEEK).plan.layers == ledger.layers
        )


def test_parts_whose_names_differ_by_version_alone_may_be_in_several_layers() -> None:
    """With a limit, and without: the same image again has the same plan."""
    parts = tuple(
        Part(f"/usr/lib/lib.so.1.{number}", 2 * MB, digest(number), PartKind(number % 3))
        for number in range(9)
    )
    large = Component(ComponentId("rpm", "large"), 18 * MB, digest("large"), parts=parts)
    for limit in (3 * MB, 5 * MB, 30 * MB):
        image = [large, *OTHERS]
        previous = None
        for number in range(3):
            now = START + number * WEEK
            layout = lay_out(image, previous, max_layers=30, now=now, max_layer_size=limit)
            units = [unit for unit in layout.units if unit.id.whole == large.id]
            assert all(unit.size <= limit for unit in units)
            diff_ids = ["sha256:" + digest(layer.components).hex() * 4 for layer in layout.plan.layers]
            ledger = decode(
                encode(Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=now))
            )
            again = lay_out(image, ledger, max_layers=30, now=now, max_layer_size=limit)
            assert {unit.id for unit in again.units} == {unit.id for unit in layout.units}
            assert all(layer.prefix for layer in again.plan.layers)
            previous = ledger
            changed = [replace(part, fingerprint=digest(part.name, number)) for part in parts[: number + 1]]
            large = replace(large, fingerprint=digest(number), parts=(*changed, *parts[number + 1 :]))
            image = [large, *OTHERS]


def test_a_component_below_the_threshold_of_records_is_cut_at_the_limit() -> None:
    image = [parted("small", [1, 1], size=3 * MB // 2 + 200_000), *OTHERS]
    layout = lay_out(image, None, max_layers=30, now=START, max_layer_size=3 * MB)
    assert max(unit.size for unit in layout.units) < 2 * MB


def test_a_part_that_comes_back_is_in_one_unit() -> None:
    """Another tar format does not tell what left a unit."""
    ledger = None
    for number, contents in enumerate(([1, 1, 1, 1, 1], [2, 2, 1, 1, 1])):
        _, ledger = released([parted("f", contents), *OTHERS], ledger, number)
    assert ledger is not None
    _, ledger = released(
        [parted("f", [0, 2, 0, 1, 1]), *OTHERS], replace(ledger, tar_format=TAR_FORMAT - 1), 2
    )
    layout, _ = released([parted("f", [3, 2, 3, 1, 1]), *OTHERS], ledger, 3)
    assert len({unit.id for unit in layout.units}) == len(layout.units)
