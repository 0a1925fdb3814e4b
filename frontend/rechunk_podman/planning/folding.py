"""Folding: of too many components, most as few, so that the Ledger of any image is small.

A Ledger has room for some 1,500 components. If an image has more, then those with the largest expected saving
keep a record of their own. The others are *folded*: a hash of the id puts each into one of some hundred
folds, which plan and Ledger treat as one component each. A component that changes changes its fold.

A Ledger holds no names of folded components. The fingerprint of a fold is the exclusive or of its members',
so one or two new members are found out: they get records of their own, and the fold stays as it was. A fold
that has changed is downloaded anyway: while there is room, the members with the largest saving leave it.
"""

from __future__ import annotations

import bz2
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

import numpy as np

from rechunk_podman.model import Component, ComponentId, Placement
from rechunk_podman.planning.families import VOLATILE_SOURCES
from rechunk_podman.planning.ledger import FOLDED, SHORT_FINGERPRINT_BYTES, ComponentRecord, Ledger
from rechunk_podman.planning.rates import first_rate

ROOM = 20 * 1024
"""Bytes of all records, before base64: if the records need more, components are folded."""

OWN_ROOM = 2 * 1024
"""Bytes of the records that a derived image may have besides."""

FIRST_ROOM = 14 * 1024
"""Bytes of the records that are left after that, without those of the folds; the rest is for later ones."""

RECORD_BYTES = SHORT_FINGERPRINT_BYTES + 3
"""Bytes of a record without its name: fingerprint, layer, age, and the end of its changes."""

MOST_FOLDS = 512
USUAL_MEMBERS = 8
"""There are at least so many times more folded components than folds, at first."""

SPREAD = 8
"""The mean fold has at most one in SPREAD of the bytes that a layer may have."""

MAX_FOLDS = 1 << 14

Buckets = dict[ComponentId, list[Component]]


def fold(
    components: Sequence[Component], previous: Ledger | None, base: Ledger | None, limit: int
) -> list[Component]:
    """Return components and folds, so few that their records have about ROOM bytes. Pure.

    Args:
        components: sorted by id.
        previous, base: components with records of their own keep them; so do the folds of the base image, if
            there is one, else those of the previous image.
        limit: the largest number of bytes of a fold.
    """
    memory = [ledger for ledger in (base, previous) if ledger is not None]
    recorded: Mapping[ComponentId, ComponentRecord] = memory[0].components if memory else {}
    room = ROOM + OWN_ROOM * (base is not None)
    counts = {ident: _count(ident) for ident in recorded if ident.source == FOLDED}
    if not counts and _fits(components, room):
        return list(components)
    shared = [component for component in components if component.placement is Placement.SHARED]
    placed = [component for component in components if component.placement is not Placement.SHARED]
    count = min(counts.values(), default=0) or _fold_count(shared, limit)
    savings = _savings(shared, count)
    wholes = {ident.whole for ledger in memory for ident in ledger.components}
    known = [component for component in shared if component.id in wholes]
    afresh = not (counts or known) or not _fits(known, room)
    if afresh:
        known = _best(known or shared, savings, FIRST_ROOM)
    held = {component.id for component in known}
    buckets = _buckets((component for component in shared if component.id not in held), count)
    if any(sum(one.size for one in members) > limit for members in buckets.values()) and count < MAX_FOLDS:
        count = min(max(_fold_count(shared, limit), 2 * count), MAX_FOLDS)
        buckets = _buckets((one for members in buckets.values() for one in members), count)
    elif counts and not afresh:
        left = room - _bytes([*(one.id for one in known), *buckets])
        known += _best(_loose(buckets, recorded), savings, left)
        held = {component.id for component in known}
        buckets = {
            ident: rest
            for ident, members in buckets.items()
            if (rest := [one for one in members if one.id not in held])
        }
    folds = [_folded(ident, members) for ident, members in buckets.items()]
    return sorted([*placed, *known, *folds], key=lambda component: component.id)


def has_room(components: Sequence[Component], previous: Ledger | None) -> bool:
    """Return True if none of the components has to be folded, and the previous image has no folds."""
    recorded = () if previous is None else previous.components
    return not any(ident.source == FOLDED for ident in recorded) and _fits(components, ROOM)


def unfold(components: Iterable[Component]) -> list[Component]:
    """Return the components with the members of folds in place of the folds."""
    return [one for component in components for one in component.members or (component,)]


def _savings(components: Sequence[Component], count: int) -> dict[ComponentId, float]:
    """Return the bytes that a record of its own saves per update, for each component.

    Folded, it is downloaded whenever its fold changes, and with it the fold whenever it changes.
    """
    rates = {component.id: first_rate(component) for component in components}
    fold_bytes = sum(component.size for component in components) / max(count, 1)
    fold_rate = 1.0 - float(np.exp(-sum(rates.values()) / max(count, 1)))
    return {
        component.id: rates[component.id] * fold_bytes + fold_rate * component.size
        for component in components
    }


def _best(
    components: Iterable[Component], savings: Mapping[ComponentId, float], room: int
) -> list[Component]:
    """Return the components with the largest savings whose records have at most `room` bytes."""
    ranked = sorted(components, key=lambda one: (one.interval is None, -savings[one.id], one.id))
    ranked = ranked[: max(room, 0) // RECORD_BYTES]
    while ranked and (size := _bytes(one.id for one in ranked)) > room:
        # names compress alike, so that few rounds suffice
        ranked = ranked[: min(len(ranked) - 1, len(ranked) * room // size)]
    return ranked


def _fits(components: Sequence[Component], room: int) -> bool:
    if len(components) * RECORD_BYTES > room:
        return False
    longest = sum(RECORD_BYTES + len(str(component.id)) for component in components)
    return longest <= room or _bytes(component.id for component in components) <= room


def _bytes(idents: Iterable[ComponentId]) -> int:
    """Return the bytes that the records of these components take about."""
    names = sorted(str(ident) for ident in idents)
    text = "\n".join(names).encode("utf-8", "surrogateescape")
    return len(names) * RECORD_BYTES + len(bz2.compress(text))


def _fold_count(components: Sequence[Component], limit: int) -> int:
    """Return the number of folds, a power of two."""
    large = sum(component.size for component in components) * SPREAD // max(limit, 1)
    wanted = min(max(min(len(components) // USUAL_MEMBERS, MOST_FOLDS), large, 1), MAX_FOLDS)
    return 1 << (wanted.bit_length() - 1)


def _buckets(components: Iterable[Component], count: int) -> Buckets:
    found: Buckets = defaultdict(list)
    for component in components:
        text = str(component.id).encode("utf-8", "surrogateescape")
        number = int.from_bytes(blake2b(text, digest_size=4).digest(), "big") % count
        # what changes at nearly every build changes no other fold
        kind = "often" if component.id.source in VOLATILE_SOURCES else "any"
        found[ComponentId(FOLDED, f"{kind}-{number}-{count}")].append(component)
    return dict(sorted(found.items()))


def _count(ident: ComponentId) -> int:
    """Return the number of folds that the name of one states; 0 if it is no name of a fold."""
    text = ident.name.rpartition("-")[2]
    count = int(text) if text.isdecimal() and text.isascii() and len(text) < 6 else 0
    return count if 0 < count <= MAX_FOLDS else 0


def _folded(ident: ComponentId, members: Sequence[Component]) -> Component:
    rate = sum(first_rate(component) for component in members)
    built = max((component.built for component in members if component.built is not None), default=None)
    *_, fingerprint = accumulate(map(_hash, members), _xor)
    return Component(
        ident,
        sum(component.size for component in members),
        fingerprint,
        interval=7.0 / max(rate, 1e-6),
        built=built,
        members=tuple(members),
        positions=np.sort(np.concatenate([component.positions for component in members])),
    )


def _hash(component: Component) -> bytes:
    text = str(component.id).encode("utf-8", "surrogateescape")
    return blake2b(component.fingerprint + text, digest_size=8).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _loose(buckets: Buckets, recorded: Mapping[ComponentId, ComponentRecord]) -> list[Component]:
    """Return the members that may leave their folds: new ones, and all of a fold that has changed."""
    found: list[Component] = []
    for ident, members in buckets.items():
        record = recorded.get(ident)
        new = None if record is None else _new_members(members, record)
        found += members if new is None else new
    return found


def _new_members(members: Sequence[Component], record: ComponentRecord) -> list[Component] | None:
    """Return the members that a fold has not had yet; None if it changed otherwise, or has more than two."""
    new = len(members) - record.count
    if not 0 <= new <= 2:
        return None
    width = len(record.fingerprint)
    hashes = [_hash(component)[:width] for component in members]
    rest = record.fingerprint
    for one in hashes:
        rest = _xor(rest, one)
    if new == 0:
        return [] if not any(rest) else None
    if new == 1:
        return next(([member] for member, own in zip(members, hashes, strict=True) if own == rest), None)
    place = {own: number for number, own in enumerate(hashes)}
    for number, own in enumerate(hashes):
        other = place.get(_xor(rest, own), number)
        if other != number:
            return [members[number], members[other]]
    return None
