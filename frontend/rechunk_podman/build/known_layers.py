"""Layers of other tools, read once: their entries and digests are kept in a cache, by diff_id.

A file of the cache is compressed by zstd, and holds lines of JSON: an object with the size and the removed
paths of a TreeDigest; for each entry, the root first, its path, the fields of Entry, and the SHA-256 of its
content.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from rechunk_podman.errors import RechunkError
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.read.cache import Cache
from rechunk_podman.oci.read.flatten import TreeDigest

log = logging.getLogger(__name__)

CACHE, CACHE_BYTES = "foreign-layers-1", 256 << 20
"""The name of the cache, with the number of its format, and the bytes that it may have."""

_DAMAGE = (
    *(OSError, EOFError, zstandard.ZstdError, StopIteration),
    *(LookupError, TypeError, ValueError, AttributeError, OverflowError),
)
"""The errors that reading a damaged file raises."""


def remember_layer(cache: Cache, diff_id: Any, layer: TreeDigest) -> None:
    """Add a layer to the cache; a file that cannot be written is no error."""

    def write(path: Path) -> None:
        with path.open("xb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as stream:
            for value in _lines(layer):
                stream.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")

    try:
        cache.add(diff_id, write)
    except RechunkError as error:
        log.debug("what was read is not remembered: %s", error)


def known_layer(cache: Cache, diff_id: Any, name: str) -> TreeDigest | None:
    """Return a layer from the cache; None if it is not there, or its file is damaged.

    Args:
        name: of the image, for messages.
    """
    if not cache.has(diff_id):
        return None
    try:
        with (
            cache.path(diff_id).open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
        ):
            return _parse(map(json.loads, io.TextIOWrapper(io.BufferedReader(stream), "ascii")), name)
    except _DAMAGE as error:
        log.debug("what is known of %s is damaged: %s", diff_id, error)
        return None


def _lines(layer: TreeDigest) -> Iterator[Any]:
    yield {"size": layer.size, "removed": layer.removed}
    for path, entry in (("", layer.tree.root), *layer.tree.items()):
        digest = layer.sha256.get(path)
        xattrs = [(name, value.hex()) for name, value in entry.xattrs]
        yield [path, *entry[:-1], xattrs, None if digest is None else digest.hex()]


def _parse(lines: Iterator[Any], name: str) -> TreeDigest:
    head = next(lines)
    entries: dict[str, Entry] = {}
    digests: dict[str, bytes] = {}
    for path, kind, *numbers, target, rdev, xattrs, digest in lines:
        attributes = tuple((key, bytes.fromhex(value)) for key, value in xattrs)
        fields = (Kind(kind), *numbers, target, rdev and tuple(rdev), attributes)
        entries[path] = Entry._make(fields)
        if digest is not None:
            digests[path] = bytes.fromhex(digest)
    root = entries.pop("")
    return TreeDigest(name, Tree(root, entries), digests, removed=tuple(head["removed"]), size=head["size"])
