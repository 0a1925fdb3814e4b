"""Marks: the few bytes by which a Ledger knows a part.

KEY_BYTES of them are a hash of its name, the rest is of its fingerprint. Parts of one component whose names have the same key are not told apart: they have one mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from rechunk_podman.model import Part

KEY_BYTES = 2
MARK_BYTES = 4


def marked(parts: Iterable[Part]) -> dict[bytes, tuple[bytes, list[Part]]]:
    """Return for each key the mark and the parts that have it."""
    groups: dict[bytes, list[Part]] = {}
    for part in parts:
        key = blake2b(part.name.encode("utf-8", "surrogateescape"), digest_size=KEY_BYTES).digest()
        groups.setdefault(key, []).append(part)
    return {key: (key + _fingerprint(members), members) for key, members in groups.items()}


def joined_marks(parts: Iterable[Part]) -> bytes:
    """Return all marks of a component's parts, in order."""
    return b"".join(sorted(mark for mark, _ in marked(parts).values()))


def single_marks(joined: bytes) -> list[bytes]:
    """Return the marks that joined_marks() joined."""
    return [joined[start : start + MARK_BYTES] for start in range(0, len(joined), MARK_BYTES)]


def _fingerprint(parts: list[Part]) -> bytes:
    width = MARK_BYTES - KEY_BYTES
    if len(parts) == 1:
        return parts[0].fingerprint[:width]
    joined = b"".join(sorted(part.fingerprint for part in parts))
    return blake2b(joined, digest_size=width).digest()
