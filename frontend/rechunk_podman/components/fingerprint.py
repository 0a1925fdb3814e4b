"""Fingerprints: 8 bytes of everything that a component's tar entries will hold.

They are for planning alone: a layer's diff_id is always hashed from its real bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from rechunk_podman.model import Entry, path_key

SIZE = 8
"""Bytes of a fingerprint."""

_LENGTHS = struct.Struct("<IQQ")
_ENTRY = struct.Struct("<BHIIQq")
_EXTRA = struct.Struct("<IBIIII")
_XATTR = struct.Struct("<II")


def new_fingerprint() -> blake2b:
    """The hash that makes a fingerprint of blocks."""
    return blake2b(digest_size=SIZE)


def block(
    paths: Sequence[str],
    entries: Sequence[Entry],
    mtimes: Sequence[int],
    links: Mapping[int, str],
    digests: bytes,
) -> bytes:
    """Some tar entries, so that all that tells two of them apart makes other bytes. Pure.

    Args:
        paths, entries, mtimes: in Tree order, mtimes as the layer will hold them.
        links: index of a hard link -> its leader's path.
        digests: of the contents of regular files that are no hard links, joined in order.
    """
    names = path_key("\0".join(paths))
    pack = _ENTRY.pack
    heads: list[bytes] = []
    extras: list[bytes] = []
    for index, entry in enumerate(entries):
        kind, mode, uid, gid, size, _, _, _, _, target, rdev, xattrs = entry
        heads.append(pack(kind, mode, uid, gid, size, mtimes[index]))
        if target is not None or xattrs or rdev is not None or index in links:
            extras.append(_extra(index, entry, links.get(index)))
    extra = b"".join(extras)
    lengths = _LENGTHS.pack(len(heads), len(names), len(extra))
    return b"".join([lengths, names, *heads, extra, digests])


def _extra(index: int, entry: Entry, link: str | None) -> bytes:
    """What few entries have: a target or leader, a device number, extended attributes."""
    target = path_key(entry.target or "" if link is None else link)
    major, minor = entry.rdev or (0, 0)
    parts = [
        _EXTRA.pack(index, link is not None, major, minor, len(target), len(entry.xattrs)),
        target,
    ]
    for key, value in entry.xattrs:
        raw = path_key(key)
        parts += (_XATTR.pack(len(raw), len(value)), raw, value)
    return b"".join(parts)


def tar_size(entries: Sequence[Entry], links: Mapping[int, str]) -> int:
    """About the bytes of tar entries: headers, padded contents, and PAX records where there are xattrs.

    Args:
        links: the indexes of hard links, whose contents do not count.
    """
    total = 512 * len(entries)
    for index, entry in enumerate(entries):
        # all but regular files have the size 0
        if entry.size and index not in links:
            total += -(-entry.size // 512) * 512
        if entry.xattrs:
            total += 1024
    return total
