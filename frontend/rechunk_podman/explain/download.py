"""The download of an update, layer by layer, with reasons. Pure: facts in, facts out.

A client has the blobs of the old image, by digest. A layer whose diff_id it has in another blob (compressed
anew) counts as downloaded: containers/storage recognises it only if it has recorded both digests before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rechunk_podman.explain.held import Held, whole_of
from rechunk_podman.explain.inspect import ImageFacts, LayerFacts
from rechunk_podman.planning.ledger import ComponentRecord

KEPT, CHANGED, RECOMPRESSED, REPEATED = "kept", "changed", "recompressed", "repeated"
"""The status of a layer. KEPT: the client has its blob. CHANGED: it must fetch the blob. RECOMPRESSED: it has
the tar in another blob. REPEATED: it fetches the same blob for a lower layer."""

NEW, UNCHANGED, UNKNOWN = "new", "unchanged", "unknown"
"""The status of a component, besides CHANGED."""


@dataclass(frozen=True, slots=True)
class ComponentUpdate:
    """A component, or those of its parts that have one status.

    status: CHANGED, NEW, UNCHANGED, UNKNOWN or "removed".
    old_version, new_version: "" if unknown.
    """

    held: Held
    status: str
    old_version: str = ""
    new_version: str = ""

    @property
    def name(self) -> str:
        """The id of the component."""
        return self.held.id

    @property
    def text(self) -> str:
        """Its name, versions if they are known, and its parts."""
        old, new = self.old_version, self.new_version
        versions = f"{old} → {new}" if old and new and old != new else new or old
        held = self.held
        parts = f" ({replace(held, id='').text.removeprefix(': ')})" if held.parts else ""
        return f"{self.name} {versions}".rstrip() + parts


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """A layer of the new image.

    old: the number of the same layer (by diff_id, else digest) in the old image; None if it has none.
    removed: components of the old layers whose heir this layer is, which the new image lacks.
    came_from: the numbers of the old layers that held its unchanged components.
    ride_bytes: bytes of the unchanged components that are downloaded with it. A size is known only for a set
        of components that was or is a whole layer.
    ride_known: True if `ride_bytes` counts all of them.
    """

    layer: LayerFacts
    status: str
    old: int | None
    components: tuple[ComponentUpdate, ...]
    removed: tuple[str, ...] = ()
    came_from: tuple[int, ...] = ()
    ride_bytes: int = 0
    ride_known: bool = True

    @property
    def downloaded(self) -> bool:
        """True if the client must fetch the blob."""
        return self.status in (CHANGED, RECOMPRESSED)

    def of(self, status: str) -> list[ComponentUpdate]:
        """Return its components of one status."""
        return [component for component in self.components if component.status == status]


@dataclass(frozen=True, slots=True)
class Update:
    """An update from one image to another. Sizes are bytes, from the new image's manifest.

    removed: the components of the old image that the new one lacks.
    first_changed: the number of the lowest layer that local storage unpacks, with all above it, or None.
    notes: sentences for people.
    """

    old: ImageFacts
    new: ImageFacts
    layers: tuple[LayerUpdate, ...]
    removed: tuple[ComponentUpdate, ...]
    first_changed: int | None
    notes: tuple[str, ...]

    def bytes(self, *statuses: str) -> int:
        """Return the known bytes of the layers of these statuses."""
        return sum(entry.layer.size or 0 for entry in self.layers if entry.status in statuses)

    def count(self, *statuses: str) -> int:
        """Return the number of layers of these statuses."""
        return sum(entry.status in statuses for entry in self.layers)

    @property
    def downloaded(self) -> int:
        """The known bytes that the client fetches."""
        return self.bytes(CHANGED, RECOMPRESSED)

    @property
    def unknown_sizes(self) -> int:
        """The number of layers to fetch whose size is unknown."""
        return sum(entry.downloaded and entry.layer.size is None for entry in self.layers)

    @property
    def reextracted(self) -> int:
        """The known bytes of the layers from `first_changed` on, which local storage unpacks."""
        first = self.first_changed
        return 0 if first is None else sum(entry.layer.size or 0 for entry in self.layers[first - 1 :])

    def components(self, status: str) -> list[ComponentUpdate]:
        """Return the components of one status in the whole image, sorted by name.

        A component has the first status of _RANKS that any of its parts has; only those parts are told.
        """
        found: dict[str, list[ComponentUpdate]] = {}
        for entry in self.layers:
            for component in entry.components:
                found.setdefault(component.name, []).append(component)
        return [
            _joined([member for member in members if member.status == status])
            for _, members in sorted(found.items())
            if status == min((member.status for member in members), key=_RANKS.index)
        ]


_RANKS = (CHANGED, NEW, UNKNOWN, UNCHANGED)


def _joined(members: Sequence[ComponentUpdate]) -> ComponentUpdate:
    """Return parts of one component and one status as one."""
    held = [member.held for member in members]
    joined = Held(
        held[0].id,
        tuple(part for one in sorted(held, key=lambda one: -one.size) for part in one.parts),
        sum(one.count for one in held),
        sum(one.size for one in held) if all(one.size for one in held) else 0,
        held[0].whole,
    )
    return replace(members[0], held=joined)


def compare(old: ImageFacts, new: ImageFacts) -> Update:
    """Return the download of a client that updates from `old` to `new`, with reasons."""
    blobs = {layer.digest: layer.number for layer in old.layers if layer.digest is not None}
    contents = {layer.diff_id: layer.number for layer in old.layers}
    holders = _holders(old)
    changes = _Changes(old, new, holders)
    heirs = _heirs(old, new, holders)
    layers = []
    seen = set()
    for layer in new.layers:
        number = contents.get(layer.diff_id)
        if layer.digest in blobs:
            status, number = KEPT, blobs[layer.digest] if number is None else number
        elif number is None:
            status = CHANGED
        else:
            unknown = layer.digest is None or old.layers[number - 1].digest is None
            status = KEPT if unknown else RECOMPRESSED
        identity = layer.digest or layer.diff_id
        if status in (CHANGED, RECOMPRESSED) and identity in seen:
            status = REPEATED
        seen.add(identity)
        layers.append(changes.layer(layer, status, number, heirs.get(layer.number, ())))
    return Update(
        old, new, tuple(layers), changes.removed, _first_changed(old, new), tuple(_notes(old, new, layers))
    )


def _first_changed(old: ImageFacts, new: ImageFacts) -> int | None:
    """Return Update.first_changed, by the chain of diff_ids up to each layer (config.md, "ChainID")."""
    same = 0
    for before, now in zip(old.layers, new.layers, strict=False):
        if before.diff_id != now.diff_id:
            break
        same += 1
    return same + 1 if same < len(new.layers) else None


def _holders(facts: ImageFacts) -> Mapping[str, int]:
    """Map each component name to the number of the (topmost) layer that holds it."""
    return {name: layer.number for layer in facts.layers for name in layer.components}


def _heirs(old: ImageFacts, new: ImageFacts, holders: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """Map each new layer to the removed old layers of which it holds more components than other layers."""
    kept = {layer.diff_id for layer in new.layers}
    shares: dict[int, dict[int, int]] = {}
    for layer in new.layers:
        for name in layer.components:
            if name in holders:
                counts = shares.setdefault(holders[name], {})
                counts[layer.number] = counts.get(layer.number, 0) + 1
    heirs: dict[int, tuple[int, ...]] = {}
    for layer in old.layers:
        share = shares.get(layer.number)
        if share and layer.diff_id not in kept:
            heir = max(share, key=lambda number: (share[number], -number))
            heirs[heir] = (*heirs.get(heir, ()), layer.number)
    return heirs


class _Changes:
    """Compare components by the fingerprints of both Ledgers, else by the names in the layers."""

    def __init__(self, old: ImageFacts, new: ImageFacts, holders: Mapping[str, int]) -> None:
        self.old = old
        self.holders = holders
        self.before = old.units.records
        self.now = new.units.records
        self.units = (old.units, new.units)
        self.since = _releases_since(old, new)
        self.both = old.ledger is not None and new.ledger is not None
        self.same_format = self.both and old.ledger.tar_format == new.ledger.tar_format  # type: ignore[union-attr]
        self.complete = bool(old.layers) and all(layer.complete for layer in old.layers)
        self.alone = {
            layer.components[0] for layer in old.layers if layer.complete and len(layer.components) == 1
        }
        self.layers_of: dict[str, set[int]] = {}
        for name, number in holders.items():
            self.layers_of.setdefault(whole_of(name), set()).add(number)
        present = set(map(whole_of, _holders(new)))
        complete = bool(new.layers) and all(layer.complete for layer in new.layers)
        gone = sorted(self.layers_of.keys() - present) if complete else []
        self.removed = tuple(
            ComponentUpdate(Held(name), "removed", old_version=old.units.versions.get(name, ""))
            for name in gone
        )

    def layer(
        self, layer: LayerFacts, status: str, number: int | None, ancestors: tuple[int, ...]
    ) -> LayerUpdate:
        """Return the update of one layer. ancestors: the old layers whose heir it is."""
        statuses = {name: self._status(name, layer, status) for name in layer.components}
        components = tuple(self._components(statuses))
        if status not in (CHANGED, RECOMPRESSED):
            return LayerUpdate(layer, status, number, components)
        removed = tuple(c.name for c in self.removed if max(self.layers_of[c.name]) in ancestors)
        riders = {name for name, found in statuses.items() if found == UNCHANGED}
        came_from = tuple(sorted({number for name in riders for number in self._came_from(name)}))
        ride_bytes, ride_known = self._ride(layer, riders, came_from)
        return LayerUpdate(layer, status, number, components, removed, came_from, ride_bytes, ride_known)

    def _components(self, statuses: Mapping[str, str]) -> Iterator[ComponentUpdate]:
        """Yield what a layer holds, by component and status."""
        before, now = self.units
        groups: dict[tuple[str, str], list[str]] = {}
        for name, status in statuses.items():
            groups.setdefault((whole_of(name), status), []).append(name)
        for (component, status), names in groups.items():
            (held,) = now.held(names)
            versions = before.versions.get(component, ""), now.versions.get(component, "")
            yield ComponentUpdate(held, status, *versions)

    def _came_from(self, name: str) -> set[int]:
        """Return the old layers that held a unit, or else parts of its component."""
        return {self.holders[name]} if name in self.holders else self.layers_of.get(whole_of(name), set())

    def _status(self, name: str, layer: LayerFacts, status: str) -> str:
        if status in (KEPT, RECOMPRESSED):
            return UNCHANGED
        before, now = self.before.get(name), self.now.get(name)
        if before is not None and now is not None:
            if self.same_format or not (before.version and now.version):
                return UNCHANGED if _same_fingerprint(before, now) else CHANGED
            return UNCHANGED if before.version == now.version else CHANGED
        if now is not None and whole_of(name) in self.layers_of and name not in self.holders:
            return self._status_by_record(name, now)
        if name not in self.holders:
            return NEW if self.complete else UNKNOWN
        if layer.complete and len(layer.components) == 1 and name in self.alone:
            return CHANGED
        return UNKNOWN

    def _status_by_record(self, name: str, now: ComponentRecord) -> str:
        """Return the status of a unit that was divided in another way in the old image."""
        if self.since is not None:
            return CHANGED if now.changes & ((1 << self.since) - 1) else UNCHANGED
        before, after = (units.versions.get(whole_of(name), "") for units in self.units)
        return CHANGED if before and after and before != after else UNKNOWN

    def _ride(self, layer: LayerFacts, riders: set[str], came_from: tuple[int, ...]) -> tuple[int, bool]:
        if layer.complete and len(riders) == len(layer.components):
            return layer.size or 0, layer.size is not None
        total = 0
        for number in came_from:
            source = self.old.layers[number - 1]
            if source.complete and source.size is not None and riders.issuperset(source.components):
                total += source.size
                riders = riders - set(source.components)
        return total, not riders


def _releases_since(old: ImageFacts, new: ImageFacts) -> int | None:
    """Return the number of releases on record after the old image; None if it is not on record itself."""
    if old.ledger is None or new.ledger is None or old.ledger.dates[-1:] == ():
        return None
    last = old.ledger.dates[-1]
    return next((back for back, date in enumerate(reversed(new.ledger.dates)) if date == last), None)


def _same_fingerprint(one: ComponentRecord, other: ComponentRecord) -> bool:
    """Compare the common first bytes: a Ledger that lacked space keeps fewer bytes of each fingerprint."""
    width = min(len(one.fingerprint), len(other.fingerprint))
    return one.fingerprint[:width] == other.fingerprint[:width]


def _notes(old: ImageFacts, new: ImageFacts, layers: list[LayerUpdate]) -> list[str]:
    notes = []
    forms = [{layer.compressed for layer in facts.layers} - {None} for facts in (old, new)]
    if any(entry.status == RECOMPRESSED for entry in layers) and forms[0] != forms[1]:
        notes.append(
            "the two are not compressed alike (local storage keeps layers uncompressed): once both are in "
            "one registry, layers marked recompressed may be the same blobs there"
        )
    elif False in forms[1]:
        notes.append(
            "sizes are of uncompressed layers: what a registry sends is smaller once they are compressed"
        )
    if any(layer.digest is None for facts in (old, new) for layer in facts.layers):
        notes.append(
            "blobs are not known of both images: layers are matched by their content (diff_id) alone"
        )
    for facts in (old, new):
        if facts.problem is not None:
            notes.append(f"{facts.name}: {facts.problem.message}")
    if old.ledger is not None and new.ledger is not None and old.ledger.tar_format != new.ledger.tar_format:
        notes.append("the layers were written by different rules: every one of them is new")
    return notes
