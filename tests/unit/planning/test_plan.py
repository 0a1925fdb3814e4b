"""Plans of images that follow each other: what moves, what stays, what is said about it."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Plan
from rechunk_podman.planning.families import family
from rechunk_podman.planning.ledger import Ledger, decode, encode
from rechunk_podman.planning.plan import plan

WEEK = 604_800
START = 1_700_000_000


def component(name: str, size: int = 1_000_000, content: str = "1", source: str = "rpm") -> Component:
    fingerprint = hashlib.sha256(f"{source} {name} {content}".encode()).digest()[:8]
    return Component(ComponentId(source, name), size, fingerprint)


def changed(image: list[Component], *names: str, content: str = "2") -> list[Component]:
    return [component(c.id.name, c.size, content, c.id.source) if c.id.name in names else c for c in image]


def many(count: int) -> list[Component]:
    return [
        component(f"name{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}-{n}", 10_000 * (n + 1))
        for n in range(count)
    ]


def advance(previous: Ledger | None, image: list[Component], planned: Plan, date: int) -> Ledger:
    known = {c.id: c.fingerprint for c in image}
    diff_ids = [
        "sha256:" + hashlib.sha256(b"".join(known[ident] for ident in layer.components)).hexdigest()
        for layer in planned.layers
    ]
    return decode(encode(Ledger.advance(previous, image, planned, diff_ids, date=date)))


def follow(images: list[list[Component]], max_layers: int) -> tuple[list[Plan], Ledger]:
    ledger, plans = None, []
    for number, image in enumerate(images):
        plans.append(plan(image, ledger, max_layers=max_layers, now=START + number * WEEK))
        ledger = advance(ledger, image, plans[-1], START + number * WEEK)
    assert ledger is not None
    return plans, ledger


def contents(planned: Plan) -> list[frozenset[str]]:
    return [frozenset(ident.name for ident in layer.components) for layer in planned.layers]


def test_layers_that_stay_have_the_prefix_of_the_recorded_one() -> None:
    image = many(40)
    _, ledger = follow([image], 10)
    again = plan(changed(image, image[7].id.name), ledger, max_layers=10, now=START + WEEK)
    recorded = {layer.components: layer.prefix for layer in ledger.layers}
    stay = {layer.components: layer.prefix for layer in again.layers if layer.prefix}
    assert len(stay) == 9 - len(again.notes) > 0  # each note is of a layer that was opened
    assert stay.items() <= recorded.items()
    other_format = replace(ledger, tar_format=TAR_FORMAT + 1)
    assert not any(layer.prefix for layer in plan(image, other_format, max_layers=10, now=START).layers)


def test_everything_alone_where_there_are_layers_enough() -> None:
    assert sorted(map(len, contents(plan(many(20), None, max_layers=20, now=START)))) == [1] * 20


def test_no_layers_is_a_wrong_call_and_one_layer_holds_all() -> None:
    with pytest.raises(UsageError):
        plan(many(3), None, max_layers=0, now=START)
    assert len(plan(many(30), None, max_layers=1, now=START).layers) == 1
    assert plan([], None, max_layers=4, now=START).layers == ()
    _, ledger = follow([many(3)], 2)
    assert plan([], ledger, max_layers=4, now=START) == Plan(())


def test_a_plan_without_memory_says_how_often_its_layers_may_change() -> None:
    image = [*many(60), component("rpmdb", 50, source="database"), component("dirs", 9, source="filesystem")]
    planned = plan(image, None, max_layers=8, now=START)
    rates = {frozenset(layer.components): layer.rate for layer in planned.layers}
    assert all(rate > 0.0 for rate in rates.values())
    assert max(rates, key=rates.__getitem__) == {ComponentId("database", "rpmdb")}
    alone = frozenset({image[59].id})
    assert rates[max(rates, key=len)] > 5 * rates[alone]


def test_two_components_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="one id"):
        plan([component("a"), component("a")], None, max_layers=4, now=START)


def test_without_memory_one_more_package_moves_few() -> None:
    image = many(300)
    before = set(contents(plan(image, None, max_layers=40, now=START)))
    after = set(contents(plan([*image, component("zzz", 5)], None, max_layers=40, now=START)))
    assert len(after - before) == 1


def test_package_databases_get_a_layer_apart_and_on_top() -> None:
    image = [*many(200), component("rpmdb", 50, source="database"), component("etc", 60, source="unclaimed")]
    layers = contents(plan(image, None, max_layers=32, now=START))
    assert layers[-1] == {"rpmdb", "etc"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plasma-workspace", "plasma"),
        ("qt6-qtbase", "qt"),
        ("python-requests", "requests"),
        ("perl-5.40", "perl-5.40"),
        ("gst-plugins-base1.0", "gst"),
        ("NetworkManager", "networkmanager"),
    ],
)
def test_families(name: str, expected: str) -> None:
    assert family(ComponentId("rpm", name)) == expected
    assert family(ComponentId("bigfiles", name)) == f"bigfiles/{name}"


def test_only_the_layer_of_what_changed_is_new() -> None:
    image = many(100)
    plans, _ = follow([image, changed(image, image[3].id.name)], 40)
    before, after = map(contents, plans)
    dirty = next(layer for layer in before if image[3].id.name in layer)
    kept = [layer for layer in before if layer != dirty]
    assert after[: len(kept)] == kept
    assert frozenset().union(*after[len(kept) :]) == dirty


def test_dirty_layers_are_repacked_and_what_keeps_changing_is_set_apart() -> None:
    image = many(60)
    names = [c.id.name for c in image]
    images = [image]
    for number in range(12):
        images.append(changed(images[-1], names[30], names[31], content=str(number + 10)))
        if number % 4 == 0:
            images[-1] = changed(images[-1], *names[number : number + 20], content=str(number + 10))
    plans, _ = follow(images, 12)
    last = contents(plans[-1])
    hot = [layer for layer in last if names[30] in layer or names[31] in layer]
    assert sum(c.size for c in image for layer in hot if c.id.name in layer) < 2 * (310_000 + 320_000)
    assert any(contents(plans[-1])[-1] == layer for layer in hot)
    assert plans[-1].layers[-1].rate > 0.3


def test_an_unclaimed_file_copied_in_again_unchanged_changes_nothing() -> None:
    image = [*many(80), component("opt/app", 5_000, source="unclaimed")]
    again = [replace(c, built=START) for c in reversed(image)]
    plans, ledger = follow([image, again], 16)
    assert contents(plans[0]) == contents(plans[1])
    assert all(layer.prefix for layer in plans[1].layers)
    assert ledger.dates == (START,)


def test_components_renamed_split_and_gone_are_placed_once() -> None:
    image = many(50)
    names = [c.id.name for c in image]
    renamed = [*image[1:], component("renamed", image[0].size)]
    split = [c for c in renamed if c.id.name != names[1]] + [component("half-a", 10), component("half-b", 10)]
    gone = split[20:]
    plans, _ = follow([image, renamed, split, gone, image[:3]], 10)
    for planned, now in zip(plans, (image, renamed, split, gone, image[:3]), strict=True):
        assert sorted(i for layer in planned.layers for i in layer.components) == sorted(c.id for c in now)
        assert len(planned.layers) <= 10


def test_fewer_layers_open_clean_ones_and_say_so() -> None:
    image = many(60)
    _, ledger = follow([image], 20)
    fewer = plan(image, ledger, max_layers=12, now=START + WEEK)
    assert len(fewer.layers) == 12
    assert fewer.notes
    assert sum(layer.fee for layer in fewer.layers) > 0
    kept = [layer for layer in fewer.layers if layer.fee == 0.0]
    old = [layer.components for layer in ledger.layers]
    places = [old.index(layer.components) for layer in kept]
    assert places == sorted(places)


def test_more_layers_are_used_when_something_changes() -> None:
    image = many(60)
    _, ledger = follow([image], 10)
    changes = changed(image, *(c.id.name for c in image[::2]))
    assert len(plan(changes, ledger, max_layers=30, now=START + WEEK).layers) > 10


def test_another_tar_format_repacks_everything_at_once() -> None:
    image = many(60)
    _, ledger = follow([image, changed(image, image[0].id.name)], 12)
    foreign = replace(ledger, tar_format=ledger.tar_format + 1)
    planned = plan(image, foreign, max_layers=12, now=START + 2 * WEEK)
    assert not planned.notes
    assert all(layer.fee == 0.0 for layer in planned.layers)
    assert sorted(i for layer in planned.layers for i in layer.components) == sorted(c.id for c in image)


def test_the_owners_hint_counts() -> None:
    quiet = [replace(component(f"quiet{n}", 10**6, source="xattr"), interval=3650.0) for n in range(20)]
    busy = [replace(component(f"busy{n}", 10**6, source="xattr"), interval=1.0) for n in range(20)]
    _, ledger = follow([[*quiet, *busy]], 4)
    again = [component(c.id.name, c.size, "2", "xattr") for c in (*quiet, *busy)]
    again = [replace(new, interval=old.interval) for new, old in zip(again, (*quiet, *busy), strict=True)]
    layers = contents(plan(again, ledger, max_layers=4, now=START + WEEK))
    mixed = [layer for layer in layers if len({name.rstrip("0123456789") for name in layer}) > 1]
    assert not mixed


def mass_rebuild(count: int) -> Callable[[], Plan]:
    """Return a call that plans an image of `count` components of which all changed."""
    image = many(count)
    _, ledger = follow([image, changed(image, *(c.id.name for c in image[::9]))], 64)
    everything = changed(image, *(c.id.name for c in image), content="mass rebuild")
    return lambda: plan(everything, ledger, max_layers=64, now=START + 10 * WEEK)


def calls_of(work: Callable[[], Plan]) -> int:
    """Count the calls of Python and C functions that `work` makes; numpy's work is one call an array."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def test_work_grows_no_faster_than_the_components() -> None:
    small, large = calls_of(mass_rebuild(400)), calls_of(mass_rebuild(1600))
    assert large < 5 * small
    assert large < 120 * 1600


def test_memory_is_a_few_numbers_for_each_pair_of_components() -> None:
    work = mass_rebuild(1000)
    tracemalloc.start()
    try:
        planned = work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 8 * 1000 * 1000
    assert len(planned.layers) == 64
