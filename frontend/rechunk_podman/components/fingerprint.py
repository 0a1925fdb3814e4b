"""Fingerprints: hashes (8 bytes) of everything that the tar entries of a component will hold.

Only planning uses them: a layer's diff_id is always hashed from its real bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import Entry, path_key

SIZE = 8
"""Bytes of a fingerprint."""

_LENGTHS = struct.Struct("<IQQ")
HEAD = np.dtype(
    [("kind", "u1"), ("mode", "<u2"), ("uid", "<u4"), ("gid", "<u4"), ("size", "<u8"), ("mtime", "<i8")]
)
"""The numbers of every tar entry that are hashed, without padding."""
_EXTRA = struct.Struct("<IBIIII")
_XATTR = struct.Struct("<II")


def new_fingerprint() -> blake2b:
    """Return the hash object of a fingerprint, to be updated with block()s."""
    return blake2b(digest_size=SIZE)


def block(
    names: bytes,
    heads: npt.NDArray[np.void],
    others: Iterable[tuple[int, Entry, str | None]],
    digests: bytes,
) -> bytes:
    """Return bytes that differ for two lists if any of their tar entries differ. Pure.

    Args:
        names, heads: in Tree order; the names are the paths, separated by zero bytes.
        others: hard links, and entries with a target, a device number or attributes: (index, Entry, path of
            the leader or None).
        digests: joined content digests, in order, of the regular files that are no hard links.
    """
    extra = b"".join([_extra(*other) for other in others])
    return b"".join(
        [_LENGTHS.pack(len(heads), len(names), len(extra)), names, heads.tobytes(), extra, digests]
    )


def _extra(index: int, entry: Entry, link: str | None) -> bytes:
    """Return the bytes of the rare fields: a target or leader, a device number, extended attributes."""
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
