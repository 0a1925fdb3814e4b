"""Units: what a plan moves as one: a component, until its record says that only some of its parts changed.

The parts of a component (components/parts.py) that have the same record of changes and one kind are one unit.
So a component whose parts always change together is laid as a whole, and an update that changes some of
its parts divides it: those that changed are one unit, those that did not are a few, each of neighbours. The
layer that held all of them is downloaded anyway. If nearly nothing of a unit stays, it is not divided: little
is saved, and some marks, which are short, are the same by chance.

The Ledger knows a part by its mark (marks.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Part, PartKind, Placement
from rechunk_podman.planning.ledger import ComponentRecord, Ledger
from rechunk_podman.planning.marks import KEY_BYTES, Marked, marked, single_marks

DIVIDED_FROM = 4 << 20
"""Bytes of the smallest component whose parts the Ledger begins to record. It goes on while there are parts
at all, so a size around this one does not change the plan at each update."""

LEAST_STAY = 1 / 16
"""If less than this share of a unit's bytes stays, all of it counts as changed."""

MOST_UNITS = 8
"""The most units that are made of the data that did not change when a component was divided. They are several
because the next update changes something else in it, but seldom all of it."""

UNIT_BYTES = 8 << 20
"""The least bytes of each of these units."""

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


def divide(
    components: Iterable[Component], previous: Ledger | None, *, anew: bool = True, limit: int = DIVIDED_FROM
) -> Units:
    """Divide components into units, by the record of the changes of their parts. Pure.

    Components that must be alone in a layer are not divided.

    Args:
        anew: divide components that were one unit until now.
        limit: bytes of a layer; a larger component keeps its parts.
    """
    least = min(DIVIDED_FROM, limit)
    units: list[Component] = []
    if previous is None:
        for component in components:
            units.append(component if component.size >= least else undivided(component))
        return Units(tuple(units), None)
    recorded: dict[ComponentId, list[ComponentId]] = defaultdict(list)
    for ident, record in previous.components.items():
        if record.parts or ident.part:
            recorded[ident.whole].append(ident)
    changed = _Rewriting(previous, anew)
    for component in components:
        idents = recorded.get(component.id, [])
        if not idents and component.size < least:
            component = undivided(component)
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
        size=_bytes(ordered),
        fingerprint=hasher.digest(),
        parts=ordered,
        positions=np.sort(np.concatenate([part.positions for part in ordered])),
    )


def undivided(component: Component) -> Component:
    """Return the component without its parts."""
    return replace(component, parts=()) if component.parts else component


_PartsOf = dict[ComponentId, list[Marked]]

_Kin = tuple[bool, int, int, PartKind]
"""A record of changes (of this release, and changes and age of a ComponentRecord), and a kind."""


class _Rewriting:
    """Replacement of units in a Ledger by those that are planned now."""

    def __init__(self, previous: Ledger, anew: bool) -> None:
        self.previous = previous
        self.anew = anew
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
        self._remove(component.id, dict.fromkeys(idents, ()))
        before = replace(records[0], changes=changes, age=max(record.age for record in records))
        self._record(component, before, stays=False)
        return component

    def divide(self, component: Component, idents: Sequence[ComponentId]) -> list[Component]:
        """Return the units of a component whose parts are on record in the units `idents`."""
        old = self.previous.components
        if idents == [component.id] and not (self.anew and self.previous.changed(component)):
            return [component]
        stayed, changed, new, lost = self._compared(component, idents)
        # a new build of the same files: from now on, it is laid free of the times of builds
        rebuilt = idents == [component.id] and not (changed or lost or new)
        touched = set(idents) if rebuilt else changed.keys() | lost
        kin: dict[_Kin, list[Marked]] = defaultdict(list)
        homes: dict[ComponentId, list[ComponentId]] = {ident: [] for ident in sorted(touched)}
        first_of: dict[_Kin, ComponentId] = {}
        for ident in homes:
            for has_changed, parts in ((False, stayed.pop(ident, [])), (True, changed.get(ident, []))):
                for part in parts:
                    key = (has_changed, old[ident].changes, old[ident].age, part.kind)
                    kin[key].append(part)
                    first_of.setdefault(key, ident)
        for part in new:
            # what is new is most like what changes most
            busy = [key for key in first_of if key[0] and key[3] == part.kind]
            kin[max(busy, key=lambda key: (key[1].bit_count(), key), default=(True, 0, 0, part.kind))].append(
                part
            )
        if kin and not rebuilt and len({key[:3] for key in kin}) + len(stayed) == 1:
            return [self.join(component, idents)]
        units = []
        for ident, parts in stayed.items():
            unit = _unit_of(component, ident, parts)
            units.append(unit)
            if unit.id != ident:
                self.gone.add(ident)
                self.homes[ident] = [unit.id]
                self._record(unit, old[ident], stays=True)
        for key, some in kin.items():
            has_changed = key[0]
            # a rebuild changes all programs
            divisible = not has_changed and key[3] is PartKind.DATA
            for parts in _neighbours(some) if divisible else [some]:
                unit = _unit_of(component, component.id, parts)
                units.append(unit)
                if key in first_of:
                    homes[first_of[key]].append(unit.id)
                    self._record(unit, old[first_of[key]], stays=not has_changed)
        self._remove(component.id, homes)
        return units

    def _compared(
        self, component: Component, idents: Sequence[ComponentId]
    ) -> tuple[_PartsOf, _PartsOf, list[Marked], set[ComponentId]]:
        """Compare the parts of a component with those of units on record.

        Returns:
            The parts that each unit still has (none if they are less than LEAST_STAY of it), its changed
            parts, new parts, and the units that lost some. If the record and the component are not
            comparable, then nothing has changed.
        """
        marks = {ident: set(single_marks(ident, self.previous.components[ident].parts)) for ident in idents}
        holders: dict[bytes, list[tuple[ComponentId, bytes]]] = defaultdict(list)
        for ident in idents:
            if ident.part:
                for mark in single_marks(ident, self.previous.components[ident].parts):
                    holders[mark[:KEY_BYTES]].append((ident, mark))
        comparable = self.previous.tar_format == TAR_FORMAT
        stayed: _PartsOf = defaultdict(list)
        changed: _PartsOf = defaultdict(list)
        new: list[Marked] = []
        cells: list[Marked] = []
        for cell in marked(component.parts):
            # if several units hold parts of one key, each of these parts is alone
            alone = len(holders[cell.key]) > 1
            cells += [one for part in cell.parts for one in marked([part])] if alone else [cell]
        for cell in cells:
            if held := holders[cell.key]:
                ident, before = next((one for one in held if one[1] == cell.keyed), held[0])
                marks[ident].discard(before)
                (stayed if before == cell.keyed or not comparable else changed)[ident].append(cell)
            elif component.id in marks:
                # of an undivided component, a changed part cannot be told from a new one
                stays = cell.plain in marks[component.id] or not comparable
                marks[component.id].discard(cell.plain)
                (stayed if stays else changed)[component.id].append(cell)
            else:
                new.append(cell)
        for ident, parts in changed.items():
            if _bytes(stayed.get(ident, ())) < LEAST_STAY * _bytes((*stayed.get(ident, ()), *parts)):
                parts += stayed.pop(ident, [])
        return stayed, changed, new, {ident for ident in idents if marks[ident] and comparable}

    def _record(self, unit: Component, before: ComponentRecord, *, stays: bool) -> None:
        fingerprint = unit.fingerprint[: len(before.fingerprint)]
        if not stays:
            fingerprint = bytes(byte ^ 0xFF for byte in fingerprint)
        self.records[unit.id] = replace(before, fingerprint=fingerprint, parts=b"")

    def _remove(self, whole: ComponentId, homes: Mapping[ComponentId, Sequence[ComponentId]]) -> None:
        """Replace units in their layers, each by some others and by a sign that the layer has changed."""
        for number, (ident, others) in enumerate(homes.items()):
            sign = whole._replace(part=f"{GONE}{number}")
            self.gone.add(ident)
            self.homes[ident] = [*others, sign]
            self.records[sign] = ComponentRecord(b"\0")


def _neighbours(parts: Sequence[Marked]) -> list[list[Marked]]:
    """Divide parts in order of names: up to MOST_UNITS lists of about equal size, at least UNIT_BYTES."""
    total = _bytes(parts)
    usual = total / max(1, min(MOST_UNITS, total // UNIT_BYTES))
    found: list[list[Marked]] = [[]]
    size = 0.0
    for part in sorted(parts, key=lambda part: part.name):
        if found[-1] and size + part.size / 2 > usual * len(found):
            found.append([])
        found[-1].append(part)
        size += part.size
    return found


def _unit_of(component: Component, ident: ComponentId, cells: Iterable[Marked]) -> Component:
    """Return the unit of some parts; it is `ident` if it has the part of this name."""
    parts = [part for cell in cells for part in cell.parts]
    # a part that left may come back, in another unit
    is_named = any(part.name == ident.part for part in parts)
    return make_unit(component, ident if is_named else named_by(ident, parts), parts)


def _bytes(parts: Iterable[Part | Marked]) -> int:
    return sum(part.size for part in parts)


def named_by(component: ComponentId, parts: Iterable[Part]) -> ComponentId:
    """Return the id of a unit of some parts, which has the name of the largest."""
    return component._replace(part=min(parts, key=lambda part: (-part.size, part.name)).name)
