"""Marks: the few bytes by which a Ledger knows a part.

A part of an undivided component has a plain mark, a hash of its name and fingerprint. A part of a unit has a
keyed mark: a hash of its name, the key, and one of its fingerprint. So a part that changed is found again.
Names are hashed without version numbers. Parts of one component that have the same key are not told apart:
they have one mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from rechunk_podman.model import Component, ComponentId, Part, PartKind
from rechunk_podman.patterns import compile_later

KEY_BYTES = 2
PLAIN_BYTES = 2
KEYED_BYTES = 4

_VERSION = compile_later(r"(?<!\d)\d+(?:\.\d+)+(?:-\d+)?")


class Marked(NamedTuple):
    """Parts that have the same key. They stay in one unit, unless it would be larger than a layer may be."""

    key: bytes
    plain: bytes
    keyed: bytes
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The name of the first part."""
        return self.parts[0].name

    @property
    def kind(self) -> PartKind:
        """The kind of the first part."""
        return self.parts[0].kind

    @property
    def size(self) -> int:
        """The bytes of all parts."""
        return sum(part.size for part in self.parts)


def marked(parts: Iterable[Part]) -> list[Marked]:
    """Return the parts of a component by their keys, in order of keys."""
    groups: dict[bytes, list[Part]] = {}
    for part in sorted(parts, key=lambda part: part.name):
        name = _VERSION.sub("#", part.name).encode("utf-8", "surrogateescape")
        groups.setdefault(_hash(KEY_BYTES, name), []).append(part)
    found = []
    for key, members in sorted(groups.items()):
        content = b"".join(sorted(part.fingerprint for part in members))
        keyed = key + _hash(KEYED_BYTES - KEY_BYTES, content)
        found.append(Marked(key, _hash(PLAIN_BYTES, key + content), keyed, tuple(members)))
    return found


def joined_marks(component: Component) -> bytes:
    """Return the marks of a component's parts, in order: keyed ones if it is a unit of some parts."""
    found = marked(component.parts)
    return b"".join(sorted(one.keyed if component.id.part else one.plain for one in found))


def width_of(ident: ComponentId) -> int:
    """Return the bytes of a mark in the record of a unit, or of an undivided component."""
    return KEYED_BYTES if ident.part else PLAIN_BYTES


def single_marks(ident: ComponentId, joined: bytes) -> list[bytes]:
    """Return the marks that joined_marks() joined."""
    width = width_of(ident)
    return [joined[start : start + width] for start in range(0, len(joined), width)]


def _hash(size: int, data: bytes) -> bytes:
    return blake2b(data, digest_size=size).digest()
