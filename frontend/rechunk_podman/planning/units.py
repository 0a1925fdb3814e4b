"""Units: what a plan moves as one: a component, until its record says that only some of its parts changed.

The parts of a component (components/parts.py) that have the same record of changes are one unit. So a
component whose parts always change together is laid as a whole, and an update that changes some of its parts
divides it: into those that changed and those that did not. The layer that held both must be downloaded anyway.

The Ledger knows a part by its mark (marks.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Part, Placement
from rechunk_podman.planning.ledger import ComponentRecord, Ledger
from rechunk_podman.planning.marks import KEY_BYTES, marked, single_marks

DIVIDED_FROM = 4 << 20
"""Bytes of the smallest component whose parts the Ledger begins to record. It goes on while there are parts
at all, so a size around this one does not change the plan at each update."""

GONE = "(gone)"
"""The part of an id that stands in a layer for parts that the component has no more."""


@dataclass(frozen=True, slots=True)
class Units:
    """The units of an image, and the Ledger of the previous one as if it had had the same.

    units: every part of every component is in exactly one.
    memory: None if there is no previous image.
    """

    units: tuple[Component, ...]
    memory: Ledger | None


def divide(components: Iterable[Component], previous: Ledger | None) -> Units:
    """Divide components into units, by the record of the changes of their parts. Pure.

    Components that must be alone in a layer are not divided.
    """
    units: list[Component] = []
    if previous is None:
        for component in components:
            units.append(component if component.size >= DIVIDED_FROM else _undivided(component))
        return Units(tuple(units), None)
    recorded: dict[ComponentId, list[ComponentId]] = defaultdict(list)
    for ident, record in previous.components.items():
        if record.parts or ident.part:
            recorded[ident.whole].append(ident)
    changed = _Rewriting(previous)
    for component in components:
        idents = recorded.get(component.id, [])
        if not idents and component.size < DIVIDED_FROM:
            component = _undivided(component)
        if not idents:
            units.append(component)
        elif not component.parts or component.placement is not Placement.SHARED:
            units.append(changed.join(component, idents))
        else:
            units += changed.divide(component, idents)
    return Units(tuple(units), changed.ledger())


def rejoin(units: Iterable[Component]) -> list[Component]:
    """Return the units of one component as one, under the id of the component."""
    found: dict[ComponentId, list[Component]] = defaultdict(list)
    for unit in units:
        found[unit.id.whole].append(unit)
    return [
        members[0]
        if len(members) == 1 and not members[0].id.part
        else make_unit(members[0], ident, [part for unit in members for part in unit.parts])
        for ident, members in found.items()
    ]


def make_unit(component: Component, ident: ComponentId, parts: Iterable[Part]) -> Component:
    """Return the unit of some parts of a component."""
    ordered = tuple(sorted(parts, key=lambda part: part.name))
    hasher = blake2b(digest_size=8)
    for part in ordered:
        hasher.update(part.fingerprint)
    return replace(
        component,
        id=ident,
        size=sum(part.size for part in ordered),
        fingerprint=hasher.digest(),
        parts=ordered,
        positions=np.sort(np.concatenate([part.positions for part in ordered])),
    )


def _undivided(component: Component) -> Component:
    return replace(component, parts=()) if component.parts else component


_Kin = tuple[bool, int, int]
"""A record of changes: of this release, and changes and age of a ComponentRecord."""


class _Rewriting:
    """Replacement of units in a Ledger by those that are planned now."""

    def __init__(self, previous: Ledger) -> None:
        self.previous = previous
        self.records: dict[ComponentId, ComponentRecord] = {}
        self.gone: set[ComponentId] = set()
        self.homes: dict[ComponentId, list[ComponentId]] = {}

    def ledger(self) -> Ledger:
        """Return the Ledger with all replacements."""
        if not (self.records or self.gone):
            return self.previous
        old = self.previous.components
        records = {ident: record for ident, record in old.items() if ident not in self.gone}
        layers = []
        for layer in self.previous.layers:
            members = {other for ident in layer.components for other in self.homes.get(ident, (ident,))}
            layers.append(replace(layer, components=tuple(sorted(members))))
        return replace(self.previous, components={**records, **self.records}, layers=tuple(layers))

    def join(self, component: Component, idents: Sequence[ComponentId]) -> Component:
        """Return a component as one unit, of which nothing is known to have stayed."""
        if idents == [component.id]:
            return component
        records = [self.previous.components[ident] for ident in idents]
        changes = 0
        for record in records:
            changes |= record.changes
        age = max(record.age for record in records)
        self._remove(component.id, idents, {})
        self._record(component, records[0], changes, age, stays=False)
        return component

    def divide(self, component: Component, idents: Sequence[ComponentId]) -> list[Component]:
        """Return the units of a component whose parts are on record in the units `idents`."""
        old = self.previous.components
        if idents == [component.id] and not self.previous.changed(component):
            return [component]
        cells = marked(component.parts)
        holders = {mark[:KEY_BYTES]: ident for ident in idents for mark in single_marks(old[ident].parts)}
        known = {mark for ident in idents for mark in single_marks(old[ident].parts)}
        comparable = self.previous.tar_format == TAR_FORMAT
        fates = {key: not comparable or mark in known for key, (mark, _) in cells.items()}
        if not any(fates.values()):
            return [self.join(component, idents)]
        touched = {holders[key] for key, stays in fates.items() if not stays and key in holders}
        touched |= {ident for key, ident in holders.items() if key not in cells}
        groups: dict[ComponentId, list[Part]] = defaultdict(list)
        kin: dict[_Kin, list[bytes]] = defaultdict(list)
        new: list[bytes] = []
        for key, (_, parts) in cells.items():
            holder = holders.get(key)
            if holder is None:
                new.append(key)
            elif holder in touched:
                kin[not fates[key], old[holder].changes, old[holder].age].append(key)
            else:
                groups[holder] += parts
        if new:
            # what is new is most like what changes most
            busiest = max(
                (key for key in kin if key[0]), key=lambda key: (key[1].bit_count(), key), default=None
            )
            kin[(True, 0, 0) if busiest is None else busiest] += new
        if len(groups) + len(kin) == 1 and (kin or len(idents) == 1):
            return [self.join(component, idents)]
        units = []
        for ident, parts in groups.items():
            unit = make_unit(component, ident if ident.part else _named(component, parts), parts)
            units.append(unit)
            if unit.id != ident:
                self.gone.add(ident)
                self.homes[ident] = [unit.id]
                self._record(unit, old[ident], old[ident].changes, old[ident].age, stays=comparable)
        homes: dict[ComponentId, list[ComponentId]] = {ident: [] for ident in touched}
        for (changed, changes, age), keys in kin.items():
            parts = [part for key in keys for part in cells[key][1]]
            unit = make_unit(component, _named(component, parts), parts)
            units.append(unit)
            held = sorted(holders[key] for key in keys if key in holders)
            if held and age:
                homes[held[0]].append(unit.id)
                self._record(unit, old[held[0]], changes, age, stays=not changed)
        self._remove(component.id, sorted(touched), homes)
        return units

    def _record(
        self, unit: Component, before: ComponentRecord, changes: int, age: int, *, stays: bool
    ) -> None:
        width = len(before.fingerprint)
        fingerprint = unit.fingerprint[:width]
        if not stays:
            fingerprint = bytes(byte ^ 0xFF for byte in fingerprint)
        self.records[unit.id] = ComponentRecord(fingerprint, before.version, changes, age)

    def _remove(
        self,
        whole: ComponentId,
        idents: Sequence[ComponentId],
        homes: Mapping[ComponentId, Sequence[ComponentId]],
    ) -> None:
        """Replace units in their layers, each by some others and by a sign that the layer has changed."""
        for number, ident in enumerate(idents):
            sign = whole._replace(part=f"{GONE}{number}")
            self.gone.add(ident)
            self.homes[ident] = [*homes.get(ident, ()), sign]
            self.records[sign] = ComponentRecord(b"\0")


def _named(component: Component, parts: Iterable[Part]) -> ComponentId:
    """Return the id of a unit, which has the name of its largest part."""
    return component.id._replace(part=min(parts, key=lambda part: (-part.size, part.name)).name)
