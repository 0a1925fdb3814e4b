"""plan(): from components, and the Ledger of the image before, to layers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from rechunk_podman.errors import UsageError
from rechunk_podman.model import TAR_FORMAT, Component, Placement, Plan, PlannedLayer
from rechunk_podman.planning.bundles import bundles
from rechunk_podman.planning.families import VOLATILE_SOURCES, stateless_layers
from rechunk_podman.planning.kin import Families, joined, of_units, shares
from rechunk_podman.planning.ledger import Ledger, quantized
from rechunk_podman.planning.pack import CleanLayer, pack
from rechunk_podman.planning.placement import obeys, shared_room, sorted_by_placement
from rechunk_podman.planning.rates import Tuning, first_rate, rates, release_table
from rechunk_podman.planning.scenarios import Forecast, forecast, release_weights

TUNING = Tuning()


def plan(
    components: Iterable[Component],
    previous: Ledger | None,
    *,
    max_layers: int,
    now: int,
    closed: Collection[bytes] = (),
    others: int = 0,
    tuning: Tuning = TUNING,
) -> Plan:
    """Assign every component to exactly one of at most `max_layers` layers.

    Args:
        previous: the Ledger of the previous image; None for a plan without memory.
        max_layers: at least 1.
        now: epoch seconds of this release; later changes are ignored.
        closed: prefixes of clean layers that are not opened for a fee; there are fewer than max_layers.
        others: further layers of the image, which hold large components; they count in a plan without memory.

    Layers of the previous image in which nothing changed come first, in their old order. If one was opened
    for a fee, a note names it, and the layers that now hold its components have the fee. The other components
    are packed anew, by rising odds of change per byte. If nothing changed, nothing moves.

    Pure: the same arguments, in any order of the components, give the same Plan.

    Raises:
        UsageError: max_layers is below 1. ValueError: two components of one id.
    """
    if max_layers < 1:
        raise UsageError(f"cannot plan {max_layers} layers", hint="--max-layers takes 1 or more")
    ordered = sorted(components, key=lambda component: component.id)
    if len({component.id for component in ordered}) != len(ordered):
        raise ValueError("two components of one id")
    if not ordered:
        return Plan(())
    room = shared_room(ordered, max_layers)
    if previous is None:
        return _without_memory(ordered, room, others)
    return _with_memory(ordered, previous, max_layers, now, closed, tuning)


def _without_memory(ordered: Sequence[Component], room: int, others: int) -> Plan:
    """Plan by size and name alone.

    Layers that change at every build come last, the others by rising odds of a change per byte, as far as
    these are known by kind and name.

    Args:
        room: the largest number of layers of SHARED components.
        others: as in plan().
    """
    shared = [component for component in ordered if component.placement is Placement.SHARED]
    groups = [[component] for component in ordered if component.placement is not Placement.SHARED]
    if shared:
        groups += stateless_layers(shared, room, others)
    layers = []
    for group in groups:
        size = float(sum(max(component.size, 1) for component in group))
        change = 1.0 - float(np.prod([1.0 - first_rate(component) for component in group]))
        idents = tuple(sorted(component.id for component in group))
        volatile = any(component.id.source in VOLATILE_SOURCES for component in group)
        key = (volatile, _odds_per_byte(size, change), idents)
        layers.append((key, PlannedLayer(idents, rate=quantized(change))))
    layers.sort(key=lambda entry: entry[0])
    return Plan(sorted_by_placement([layer for _, layer in layers], ordered))


def _with_memory(
    ordered: Sequence[Component],
    previous: Ledger,
    max_layers: int,
    now: int,
    closed: Collection[bytes],
    tuning: Tuning,
) -> Plan:
    clean = _clean_layers(ordered, previous)
    if len(clean) == len(previous.layers) <= max_layers and sum(map(len, clean.values())) == len(ordered):
        return Plan(sorted_by_placement(previous.layers, ordered))
    future = _forecast(ordered, previous, now, tuning)
    layers = []
    for members in clean.values():
        size, change = _size_and_change(future, members)
        # a saving lasts until the layer would have been repacked for free, or as long as we look ahead
        layers.append(CleanLayer(members, size * max(1.0 / tuning.horizon, tuning.wait * change)))
    shut = [members for index, members in clean.items() if previous.layers[index].prefix in closed]
    groups = _packed(ordered, future, layers, max_layers, tuning, shut)
    kept = {members: index for index, members in clean.items() if members in groups}
    fees = np.zeros(len(ordered))
    notes = []
    for (index, members), opened in zip(clean.items(), layers, strict=True):
        if members in kept:
            continue
        rows = list(members)
        fees[rows] = opened.fee * future.sizes[rows] / future.sizes[rows].sum()
        first = previous.layers[index].components[0]
        notes.append(
            f"opened layer {index + 1} of the previous image ({first}, {len(rows)} components), "
            f"in which nothing changed, for a fee of {opened.fee:.0f} bytes per update"
        )
    old, new = [], []
    for group in groups:
        size, change = _size_and_change(future, group)
        if group in kept:
            index = kept[group]
            old.append((index, replace(previous.layers[index], rate=quantized(change))))
        else:
            idents = tuple(ordered[row].id for row in group)
            layer = PlannedLayer(idents, quantized(change), fee=float(fees[list(group)].sum()))
            new.append((_odds_per_byte(size, change), layer))
    old.sort(key=lambda entry: entry[0])
    new.sort(key=lambda entry: (entry[0], entry[1].components))
    planned = [layer for _, layer in (*old, *new)]
    return Plan(sorted_by_placement(planned, ordered), tuple(notes))


def _packed(
    ordered: Sequence[Component],
    future: Forecast,
    clean: Sequence[CleanLayer],
    max_layers: int,
    tuning: Tuning,
    shut: Sequence[tuple[int, ...]] = (),
) -> list[tuple[int, ...]]:
    """Return the rows of each layer, packed bundle by bundle; rows that are not SHARED are alone.

    Args:
        shut: rows of layers that stay as they are.
    """
    alone = [(row,) for row, component in enumerate(ordered) if component.placement is not Placement.SHARED]
    apart = list(dict.fromkeys([*alone, *shut]))
    if apart:
        outside = {row for members in apart for row in members}
        others = [row for row in range(len(ordered)) if row not in outside]
        row_of = {row: index for index, row in enumerate(others)}
        local = [
            CleanLayer(tuple(row_of[row] for row in layer.members), layer.fee)
            for layer in clean
            if layer.members[0] in row_of
        ]
        among = [ordered[row] for row in others]
        room = max_layers - len(apart)
        groups = _packed(among, future.of(others), local, room, tuning) if others else []
        return [*apart, *(tuple(others[index] for index in group) for group in groups)]
    found = bundles(ordered, future, clean, tuning.most_bundles)
    bundle_of = {row: number for number, bundle in enumerate(found) for row in bundle}
    layers = [
        CleanLayer(tuple(sorted({bundle_of[row] for row in layer.members})), layer.fee) for layer in clean
    ]
    held = {number for layer in layers for number in layer.members}
    pool = [number for number in range(len(found)) if number not in held]
    packed = pack(future.bundled(found), pool, layers, max_layers)
    return [tuple(sorted(row for number in group for row in found[number])) for group in packed]


def _clean_layers(ordered: Sequence[Component], previous: Ledger) -> dict[int, tuple[int, ...]]:
    """Return the layers of the previous image that may stay as they are: index -> rows of `ordered`.

    Nothing in them changed, and they are as the placements of their components demand.
    """
    if previous.tar_format != TAR_FORMAT:
        return {}
    unchanged = {
        component.id: row for row, component in enumerate(ordered) if not previous.changed(component)
    }
    return {
        index: tuple(sorted(unchanged[ident] for ident in layer.components))
        for index, layer in enumerate(previous.layers)
        if all(ident in unchanged for ident in layer.components)
        and obeys([ordered[unchanged[ident]] for ident in layer.components])
    }


def _forecast(ordered: Sequence[Component], previous: Ledger, now: int, tuning: Tuning) -> Forecast:
    families = Families.of(ordered)
    units = release_table(ordered, previous, now)
    past = joined(units, families)
    weights = release_weights(past, tuning)
    chances = rates([ordered[row] for row in families.first.tolist()], past, weights, now, tuning)
    sizes = np.array([float(max(component.size, 1)) for component in ordered])
    future = forecast(np.add.reduceat(sizes, families.first), past, chances, weights, tuning)
    return of_units(future, sizes, families, shares(ordered, units, families))


def _odds_per_byte(size: float, change: float) -> float:
    """Return the odds of a change per byte, by which layers are ordered.

    After a change, clients unpack all layers above again. The expected number of these bytes is least if, of
    two neighbours, the one with lower odds per byte is below: large and quiet layers lie at the bottom.
    """
    return change / max(1.0 - change, 1e-9) / size


def _size_and_change(future: Forecast, rows: Sequence[int]) -> tuple[float, float]:
    """Return the bytes of a layer, and the probability that it changes."""
    members = list(rows)
    stays = np.exp(future.stays[members].sum(axis=0))
    return float(future.sizes[members].sum()), float(1.0 - stays @ future.weights)
