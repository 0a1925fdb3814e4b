"""Images of very many components: what is packed as one, how many pairs are looked at, how much memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.planning import plan as planner
from rechunk_podman.planning.bundles import bundles
from rechunk_podman.planning.pack import CleanLayer, pack
from rechunk_podman.planning.plan import plan
from rechunk_podman.planning.rates import Tuning, release_table
from rechunk_podman.planning.scenarios import Forecast, loyalty
from support.crowds import Crowd, recorded

TOP = Path(__file__).resolve().parents[3]

MIB = 1 << 20


def components(count: int) -> list[Component]:
    return [Component(ComponentId("node", f"p{row:05}"), 1, bytes(8)) for row in range(count)]


def future(sizes: Sequence[float], changes: Sequence[Sequence[float]]) -> Forecast:
    """A forecast of given probabilities to change, per component and scenario."""
    stays = np.log1p(-np.array(changes))
    weights = np.full(stays.shape[1], 1.0 / stays.shape[1])
    return Forecast(np.array(sizes, dtype=float), stays, weights)


def test_few_components_are_bundles_of_their_own() -> None:
    ahead = future([100.0] * 40, [[0.1, 0.2]] * 40)
    assert bundles(components(40), ahead, [], 40) == [(row,) for row in range(40)]
    assert ahead.bundled([(row,) for row in range(40)]) is ahead


def test_what_weighs_most_stays_alone_and_the_others_are_together_with_their_like() -> None:
    sizes = [1e4] * 400 + [5e7] * 4
    changes = [[0.9, 0.01], [0.01, 0.9]] * 202
    found = bundles(components(404), future(sizes, changes), [], 40)
    assert len(found) <= 40
    assert sorted(row for bundle in found for row in bundle) == list(range(404))
    assert [bundle for bundle in found if bundle[-1] >= 400] == [(400,), (401,), (402,), (403,)]
    assert all(len({row % 2 for row in bundle}) == 1 for bundle in found)


def test_small_and_busy_is_not_bundled_with_large_and_quiet() -> None:
    sizes = [5e3, 4e6] * 200
    changes = [[0.3], [0.001]] * 200
    found = bundles(components(400), future(sizes, changes), [], 30)
    mixed = [bundle for bundle in found if len({row % 2 for row in bundle}) > 1]
    assert len(mixed) <= 1


def test_a_bundle_lies_in_one_clean_layer_or_in_the_pool() -> None:
    layers = [CleanLayer(tuple(range(number, 300, 30)), 1.0) for number in range(20)]
    found = bundles(components(300), future([1e4] * 300, [[0.01]] * 300), layers, 12)
    origins = [{row % 30 if row % 30 < 20 else "pool" for row in bundle} for bundle in found]
    assert all(len(origin) == 1 for origin in origins)
    assert sum(origin == {"pool"} for origin in origins) == 6
    assert len(origins) == 26


def test_components_of_changed_layers_are_not_bundled_while_there_is_room() -> None:
    layers = [CleanLayer(tuple(range(50, 1000)), 1.0)]
    found = bundles(components(1000), future([1e4] * 1000, [[0.01]] * 1000), layers, 90)
    assert found[:50] == [(row,) for row in range(50)]
    assert len(found) <= 90


def test_very_many_behaviours_are_joined() -> None:
    chance = np.random.default_rng(1).random((2000, 60)) * 0.9
    found = bundles(components(2000), future([1e4] * 2000, chance.tolist()), [], 100)
    assert 50 <= len(found) <= 100


@pytest.mark.parametrize("releases", [20, 64])
def test_loyalty_of_kinds_is_that_of_components(releases: int) -> None:
    crowd = Crowd(800)
    past = release_table(crowd.image(), recorded(crowd, releases, 16), crowd.now)
    apart = loyalty(past, Tuning(most_bundles=800))
    alike = loyalty(past, Tuning(most_bundles=799))
    assert apart.max() > 0.5
    np.testing.assert_allclose(alike, apart, atol=1e-12)


def test_expected_downloads_of_bundles_are_those_of_components_within_2_percent() -> None:
    crowd = Crowd(800)
    previous = recorded(crowd, 20, 32)
    crowd.advance(come_and_go=0.01)
    image = crowd.image()
    costs = []
    for most in (800, 120):
        planned = plan(image, previous, max_layers=32, now=crowd.now, tuning=Tuning(most_bundles=most))
        sizes = {component.id: component.size for component in image}
        costs.append(sum(sum(sizes[i] for i in layer.components) * layer.rate for layer in planned.layers))
    assert costs[1] < 1.02 * costs[0]


def test_an_update_of_very_many_components_leaves_the_unchanged_layers_alone() -> None:
    crowd = Crowd(4000)
    image = crowd.image()
    previous = recorded(crowd, 1, 40)
    dirty = max((layer.components for layer in previous.layers), key=len)
    image = [
        replace(component, fingerprint=b"modified") if component.id in dirty[:2] else component
        for component in random.Random(1).sample(image, len(image))
    ]
    planned = plan(image, previous, max_layers=40, now=crowd.now)
    old = [layer.components for layer in previous.layers]
    new = [layer.components for layer in planned.layers]
    kept = [layer for layer in old if layer in new]
    assert new[: len(kept)] == kept
    assert dirty not in kept
    assert len(old) - 1 - len(kept) == len(planned.notes)
    assert len(kept) > 20


@pytest.mark.parametrize("count", [4000, 12_000])
def test_pairs_are_formed_of_most_bundles(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the rows that pack() pairs: all that the planner does in quadratic memory."""
    counts = []

    def counted(
        ahead: Forecast, pool: Sequence[int], clean: Sequence[CleanLayer], max_layers: int
    ) -> list[list[int]]:
        counts.append((len(ahead.sizes), len(pool) + len(clean)))
        return pack(ahead, pool, clean, max_layers)

    crowd = Crowd(count)
    previous = recorded(crowd, 2, 64)
    crowd.advance(come_and_go=0.01)
    monkeypatch.setattr(planner, "pack", counted)
    planned = plan(crowd.image(), previous, max_layers=64, now=crowd.now)
    assert len(planned.layers) == 64
    [(rows, units)] = counts
    assert 1500 < units <= rows <= 3000


PLAN = """
import random, sys
from support.crowds import Crowd, recorded
from rechunk_podman.model import PlannedLayer
from rechunk_podman.planning.ledger import ComponentRecord, Ledger
from rechunk_podman.planning.plan import plan

count, releases = map(int, sys.argv[1:])
crowd = Crowd(count)
chance = random.Random(2)
if not releases:
    idents = sorted(crowd.components)
    previous = Ledger(
        {ident: ComponentRecord(bytes(6), "1.2.3", chance.getrandbits(64), 64) for ident in idents},
        tuple(range(64)),
        tuple(PlannedLayer(tuple(idents[number::1000]), prefix=bytes(8)) for number in range(1000)),
    )
else:
    previous = recorded(crowd, releases, 64)
crowd.advance(come_and_go=0.002)
planned = plan(crowd.image(), previous, max_layers=64, now=crowd.now)
assert len(planned.layers) == 64
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Make a plan and print the most KiB that its process held. Without releases the Ledger is forged."""


@pytest.mark.parametrize(
    ("count", "releases", "limit"), [(20_000, 8, 512 * MIB), (50_000, 0, 512 * MIB), (100_000, 2, 1024 * MIB)]
)
def test_memory(count: int, releases: int, limit: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PLAN, str(count), str(releases)],
        cwd=TOP / "tests",
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) * 1024 < limit
