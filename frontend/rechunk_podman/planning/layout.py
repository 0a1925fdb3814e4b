"""lay_out(): from components and Ledgers to layers of units, none larger than a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from rechunk_podman.errors import UsageError
from rechunk_podman.model import Component, ComponentId, Part, Plan, PlannedLayer
from rechunk_podman.planning.folding import fold
from rechunk_podman.planning.ledger import ComponentRecord, Ledger
from rechunk_podman.planning.marks import marked
from rechunk_podman.planning.on_base import OWN_SHARE, pinned_layers, plan_on_base
from rechunk_podman.planning.on_kept import plan_on_kept
from rechunk_podman.planning.plan import plan
from rechunk_podman.planning.units import Units, divide, make_unit, named_by, rejoin, undivided
from rechunk_podman.units import human_size

LARGEST_LAYER = 10_000_000_000
"""Bytes; common registries refuse larger blobs."""

SPARE = 32
"""One in SPARE of a layer's bytes is left for directories and long names, of which planning knows nothing."""

_BITS = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """A plan, the units that it lays, and the Ledger to advance from."""

    plan: Plan
    units: tuple[Component, ...]
    memory: Ledger | None


@dataclass(frozen=True, slots=True)
class Kept:
    """Layers of the previous image that another tool made; see plan_on_kept().

    layers: prefix of the diff_id and components of each that stays.
    foreign: prefixes of all of them.
    """

    layers: Sequence[tuple[bytes, tuple[ComponentId, ...]]]
    foreign: Collection[bytes]


def lay_out(
    components: Iterable[Component],
    previous: Ledger | None,
    base: Ledger | None = None,
    kept: Kept | None = None,
    *,
    max_layers: int,
    now: int,
    parts: bool = True,
    max_layer_size: int = LARGEST_LAYER,
) -> Layout:
    """Divide components into units and plan their layers. Pure, the same for any order of the components.

    If there are more components than a Ledger has room for, some units are folds of several (folding.py).
    Layers of the base, and kept ones, are never divided.

    Args:
        previous, base: as in plan_on_base(); base is None if the image is not derived from another.
        kept: None unless the previous image has layers of other tools, and base is None.
        parts: divide components by their record.
        max_layer_size: bytes of the largest layer; only a layer of the base, a kept one, or one of a single
            file may be larger.

    Raises:
        UsageError: max_layers is too low. ValueError: two components of one id.
    """
    limit = max(max_layer_size - max_layer_size // SPARE, 1)
    ordered = sorted(components, key=lambda component: component.id)
    if len({component.id for component in ordered}) != len(ordered):
        raise ValueError("two components of one id")
    ordered = fold(ordered, previous, base, limit)
    if not parts:
        # a component that is larger than a layer may be has to be cut all the same
        ordered = [component if component.size > limit else undivided(component) for component in ordered]
    if base is not None:
        return _on_base(ordered, previous, base, limit, max_layers, now)
    held = set() if kept is None else {ident for _, members in kept.layers for ident in members}
    fixed = [undivided(component) for component in ordered if component.id in held]
    others = [component for component in ordered if component.id not in held]

    def make(units: Units, room: int, closed: Collection[bytes]) -> Plan:
        if kept is None:
            return plan(units.units, units.memory, max_layers=room, now=now, closed=closed)
        return plan_on_kept(
            (*fixed, *units.units),
            units.memory,
            kept.layers,
            kept.foreign,
            max_layers=room,
            now=now,
            closed=closed,
        )

    found, whole = (
        _limited(divide(others, previous, anew=anew, limit=limit), limit) for anew in (True, False)
    )
    units = (*fixed, *found.units)
    exempt = [] if kept is None else [prefix for prefix, _ in kept.layers]
    most = _most_layers(found, len(ordered), max_layers)
    made = _of_limited_layers(_carefully(make, found, whole, most), units, limit, max_layers, exempt)
    return Layout(made, units, found.memory)


def _on_base(
    ordered: Sequence[Component],
    previous: Ledger | None,
    base: Ledger,
    limit: int,
    max_layers: int,
    now: int,
) -> Layout:
    """Lay out an image that is derived from another; see lay_out()."""
    on_base = divide(ordered, base, limit=limit)
    present = {unit.id: unit for unit in on_base.units}
    memory = on_base.memory or base
    pinned = pinned_layers(present, memory, max_layers)
    held = {ident for layer in pinned for ident in layer.components}
    fixed = [present[ident] for ident in sorted(held)]
    rest = [unit for unit in on_base.units if unit.id not in held]
    if previous is None:
        found = whole = _limited(Units(tuple(rest), memory), limit)
    else:
        joined = rejoin(rest)
        found, whole = (
            _limited(divide(joined, previous, anew=anew, limit=limit), limit) for anew in (True, False)
        )

    def make(units: Units, room: int, closed: Collection[bytes]) -> Plan:
        own = None if previous is None else units.memory
        return plan_on_base((*fixed, *units.units), own, memory, max_layers=room, now=now, closed=closed)

    exempt = [layer.prefix for layer in pinned]
    units = (*fixed, *found.units)
    made = _of_limited_layers(_carefully(make, found, whole), units, limit, max_layers, exempt)
    return Layout(made, units, found.memory)


def _carefully(
    make: Callable[[Units, int, Collection[bytes]], Plan], found: Units, whole: Units, most: int | None = None
) -> Callable[[int], Plan]:
    """Return a function that plans units in at most so many layers.

    One update is little evidence. The parts of a component that is divided for the first time share out the
    layers that are downloaded anyway: they open no clean layer that the component as a whole would not open,
    and take no further layers, but for those up to one in OWN_SHARE.

    Args:
        make: plans units in at most so many layers, of which some are closed.
        found: the units to plan.
        whole: the units if no component were divided for the first time.
        most: layers that units of parts may fill; None: all, for a smaller number would keep fewer layers of
            the base.
    """
    known = [unit.id for unit in found.units] == [unit.id for unit in whole.units]

    def plan_both(room: int) -> Plan:
        spared = room - room // OWN_SHARE
        if most is not None:
            room = min(room, most)
        if known:
            return make(found, room, ())
        planned = make(whole, room, ()).layers
        if most is not None:
            room = min(room, max(len(planned), spared))
        return make(found, room, {layer.prefix for layer in planned} - {b""})

    return plan_both


def _most_layers(units: Units, components: int, max_layers: int) -> int:
    """Return the number of layers that units may fill: parts leave one in OWN_SHARE to derived images.

    Args:
        components: the number of components; as many layers may be filled without parts.
    """
    if not any(unit.id.part for unit in units.units) or units.memory is None:
        return max_layers
    spared = max_layers - max_layers // OWN_SHARE
    return min(max_layers, max(components, spared, len(units.memory.layers)))


def _limited(found: Units, limit: int) -> Units:
    """Cut units that are larger than `limit` bytes and have several parts; the pieces inherit the record."""
    units: list[Component] = []
    records: dict[ComponentId, ComponentRecord] = {}
    for unit in found.units:
        if unit.size <= limit or len(unit.parts) < 2:
            units.append(unit)
            continue
        before = None if found.memory is None else found.memory.components.get(unit.id)
        for parts in _halves(unit.parts, limit):
            piece = make_unit(unit, named_by(unit.id.whole, parts), parts)
            units.append(piece)
            if before is not None and found.memory is not None:
                same = not found.memory.changed(unit)
                fingerprint = piece.fingerprint if same else bytes(byte ^ 0xFF for byte in piece.fingerprint)
                records[piece.id] = replace(before, fingerprint=fingerprint, parts=b"")
    if found.memory is None or not records:
        return Units(tuple(units), found.memory)
    memory = replace(found.memory, components={**found.memory.components, **records})
    return Units(tuple(units), memory)


def _halves(parts: Sequence[Part], limit: int) -> list[list[Part]]:
    """Divide parts by a hash of their names, in halves again and again, until each is within the limit.

    Parts of one key stay together if they can.
    """
    cells = marked(parts)
    keys = {cell.name: _hash(cell.name) for cell in cells}
    found: list[list[Part]] = []
    todo = [(cells, _BITS)]
    while todo:
        some, bits = todo.pop()
        if sum(cell.size for cell in some) <= limit:
            found.append([part for cell in some for part in cell.parts])
            continue
        if not bits or len(some) < 2:
            found += [[part] for cell in some for part in cell.parts]
            continue
        for bit in (0, 1):
            half = [cell for cell in some if keys[cell.name] >> (bits - 1) & 1 == bit]
            if half:
                todo.append((half, bits - 1))
    return found


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _of_limited_layers(
    make: Callable[[int], Plan],
    units: Sequence[Component],
    limit: int,
    max_layers: int,
    exempt: Sequence[bytes],
) -> Plan:
    """Return the plan of which no layer is larger than `limit`, except those with the prefixes `exempt`.

    Args:
        make: plans at most so many layers; then those that are too large are cut.
    """
    sizes = {unit.id: unit.size for unit in units}
    room = max_layers
    while True:
        made = make(room)
        layers: list[PlannedLayer] = []
        for layer in made.layers:
            layers += [layer] if layer.prefix in exempt else _cut(layer, sizes, limit)
        if len(layers) <= max_layers:
            return replace(made, layers=tuple(layers))
        room -= len(layers) - max_layers
        if room < 1:
            raise UsageError(
                f"{max_layers} layers of at most {human_size(limit)} cannot hold the image",
                hint="raise --max-layers or --max-layer-size",
            )


def _cut(layer: PlannedLayer, sizes: Mapping[ComponentId, int], limit: int) -> list[PlannedLayer]:
    """Cut a layer into pieces of at most `limit` bytes, as far as its units allow."""
    if sum(sizes[ident] for ident in layer.components) <= limit:
        return [layer]
    pieces: list[list[ComponentId]] = []
    held: list[int] = []
    for ident in sorted(layer.components, key=lambda ident: (-sizes[ident], ident)):
        fitting = (number for number, size in enumerate(held) if size + sizes[ident] <= limit)
        number = next(fitting, len(pieces))
        if number == len(pieces):
            pieces.append([])
            held.append(0)
        pieces[number].append(ident)
        held[number] += sizes[ident]
    if len(pieces) == 1:
        return [layer]
    shares = [size / sum(held) for size in held]
    return [
        PlannedLayer(tuple(sorted(piece)), layer.rate, fee=layer.fee * share)
        for piece, share in zip(pieces, shares, strict=True)
    ]
