"""The files of an image from its layers, which several threads read at once.

Definitions: a thread *reads* a layer: it decompresses and hashes the tar, parses the headers, and hashes and
inspects the contents. The caller *applies* the members to the tree, in the order of the layers. The threads
are ahead of it by a bounded number of members.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

from rechunk_podman.errors import RechunkError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.flatten import WHITEOUT, Overlay, TreeDigest
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.tar import Content, Member, members
from rechunk_podman.workers import Workers

Look = Callable[[int, Member, Content], Any]
"""A function that gets the number of a layer (from 0), a regular file in it, and a reader of its content."""

_WEIGHT = 500
"""Bytes of memory that a member takes beside its attributes."""
_MAX_WEIGHT = 1 << 17
"""Bytes of the members that a thread hands over at once."""


def read_tree(
    image: ImageSource,
    *,
    look: Look | None = None,
    digests: Callable[[str], bool] | None = None,
) -> TreeDigest:
    """Read every layer once and apply it to the tree, the bottom first. Only metadata is kept in memory.

    Args:
        look: called for every regular file of every layer, even if an upper layer replaces or deletes it;
            by several threads at once, for the files of each layer in their order.
        digests: is True for the paths whose content is hashed; None: hash all.

    Raises:
        ImageError: a layer is damaged, or holds an entry that no client can apply (a hard link to nothing).
    """
    overlay = Overlay(lambda layer, member, content: content.look(layer, member))
    name = f"{image.name}: layer"
    layers = range(len(image.record.layers))
    with Workers(len(os.sched_getaffinity(0))) as workers:
        read = partial(_read, image, look, digests, workers.ended)
        for index, several in workers.in_order(read, layers):
            for member, content in several:
                if isinstance(member, str):
                    overlay.apply_global(index, f"{name} {index + 1}", member)
                else:
                    overlay.apply(index, member, content, f"{name} {index + 1}")
    return overlay.finish(image.name)


_Several = list[tuple["Member | str", "_Known | _Unknown | None"]]
"""Members with their contents, and names of global pax headers."""


class _Known:
    """The digest of a content, and the result of `look`."""

    __slots__ = ("digest", "looked")

    def __init__(self, digest: bytes | None, looked: Any) -> None:
        self.digest, self.looked = digest, looked

    def look(self, layer: int, member: Member) -> Any:
        return self.looked

    def sha256(self) -> bytes | None:
        return self.digest


class _Unknown:
    """A content that is read when the path of its file is known."""

    def __init__(self, content: Content, look: Look | None, digests: Callable[[str], bool] | None) -> None:
        self._content, self._look, self._digests = content, look, digests
        self._is_hashed = digests is None

    def look(self, layer: int, member: Member) -> Any:
        self._is_hashed = self._digests is None or self._digests(member.path)
        return None if self._look is None else self._look(layer, member, self._content)

    def sha256(self) -> bytes | None:
        return self._content.sha256() if self._is_hashed else None


def _read(
    image: ImageSource, look: Look | None, digests: Callable[[str], bool] | None, ended: Event, layer: int
) -> Iterator[_Several | None]:
    """Yield the members of a layer, some at a time. This function runs in any thread.

    Raises:
        CancelledError: `ended` is set.
    """
    name = f"{image.name}: layer {layer + 1}"
    found: _Several = []
    symlinks: set[str] = set()
    behind: dict[str, bool] = {}
    weight = 0

    def add_global(path: str) -> None:
        found.append((path, None))

    with image.layer(layer, ended) as stream:
        try:
            for member, content in members(stream, name, add_global):
                path = member.path
                known: _Known | _Unknown | None = None
                if member.kind is Kind.SYMLINK:
                    symlinks.add(path)
                    behind.clear()
                elif content is not None:
                    parent, _, base = path.rpartition("/")
                    if parent not in behind:
                        behind[parent] = bool(symlinks) and any(map(symlinks.__contains__, _upwards(parent)))
                    if behind[parent]:
                        # Overlay._resolve() gives it a path that depends on the layers below.
                        known = _Unknown(content, look, digests)
                    elif base.startswith(WHITEOUT):
                        known = _Known(None, None)
                    else:
                        looked = look(layer, member, content) if look is not None else None
                        known = _Known(content.sha256() if digests is None or digests(path) else None, looked)
                found.append((member, known))
                weight += _WEIGHT
                if member.xattrs:
                    weight += sum(len(value) for _, value in member.xattrs)
                if isinstance(known, _Unknown) or weight > _MAX_WEIGHT:
                    yield found
                    found, weight = [], 0
                if isinstance(known, _Unknown):
                    yield None  # the content is read now
        except RechunkError:
            yield found
            raise
        yield found


def no_digests(path: str) -> bool:
    """Return False: read_tree() then hashes no content."""
    return False


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def read_layer(image: ImageSource, index: int) -> TreeDigest:
    """Read one layer as if there were none below it, with the paths that it deletes in those.

    Raises:
        ImageError: as read_tree(); a hard link to a file of a lower layer is one to nothing.
    """
    overlay = Overlay()
    name = f"{image.name}: layer {index + 1}"
    with image.layer(index) as stream:
        for member, content in members(stream, name, partial(overlay.apply_global, index, name)):
            overlay.apply(index, member, content, name)
        size = stream.raw.size
    return replace(overlay.finish(image.name), removed=tuple(overlay.removed), size=size)
