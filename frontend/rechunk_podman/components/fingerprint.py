"""Fingerprints: hashes (8 bytes) of everything that the tar entries of a component will hold.

Only planning uses them: a layer's diff_id is always hashed from its real bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import Board
from rechunk_podman.model import NUMBERS, ROOT, Entry, More, Positions, Tree, path_key
from rechunk_podman.packages.digests import DIGEST_SIZE
from rechunk_podman.pathtable import NO_POSITIONS, distinct, slices

SIZE = 8
"""Bytes of a fingerprint."""

HEAD = np.dtype(
    [("kind", "u1"), ("mode", "<u2"), ("uid", "<u4"), ("gid", "<u4"), ("size", "<u8"), ("mtime", "<i8")]
)
"""The numbers of every tar entry that are hashed, without padding."""

_LENGTHS = struct.Struct("<IQQ")
_EXTRA = struct.Struct("<IBIIII")
_XATTR = struct.Struct("<II")
_NO_MORE: More = (None, None, ())

_PATHS_AT_ONCE = 4096
"""Paths that are hashed at once. The fingerprints depend on this number."""

_PATHS_IN_MEMORY = 1 << 14
"""Paths whose columns are gathered at once, for a chunk or several."""

Ints = npt.NDArray[np.int64]


def of_root(root: Entry) -> bytes:
    """Return the fingerprint of `/`, as layers hold it."""
    head = np.array([root[:6]], HEAD).tobytes()
    label = b"".join(name.encode() + b"\0" + value for name, value in root.xattrs)
    return _hasher([_block(1, b"", head, label, b"")]).digest()


class Fingerprints:
    """The fingerprints of any entries of a Board, all digests of which are known."""

    __slots__ = ("_board", "_digested", "_others")

    def __init__(self, board: Board) -> None:
        is_link = board.leader != np.arange(len(board.leader))
        self._board = board
        self._digested = board.regular & ~is_link
        self._others = is_link
        self._others[list(board.tree.more)] = True

    def of(self, groups: Sequence[Positions], mtimes: Ints) -> list[bytes]:
        """Return for each group the fingerprint of its entries, and of all directories above them.

        Args:
            groups: positions, in order, of which there are no two in a group.
            mtimes: of each position, in the layers that will hold the groups.
        """
        hashers = [_hasher(()) for _ in groups]
        chunks: list[tuple[int, Positions]] = []
        count = 0
        for number, positions in self._chunks(groups):
            chunks.append((number, positions))
            count += len(positions)
            if count >= _PATHS_IN_MEMORY:
                self._hash(chunks, mtimes, hashers)
                chunks, count = [], 0
        self._hash(chunks, mtimes, hashers)
        return [hasher.digest() for hasher in hashers]

    def _chunks(self, groups: Sequence[Positions]) -> Iterator[tuple[int, Positions]]:
        """Yield the number of each group with the entries that are hashed at once."""
        for number, (above, own) in enumerate(zip(ancestors(self._board.tree, groups), groups, strict=True)):
            for positions in (above, own):
                for start in range(0, len(positions), _PATHS_AT_ONCE):
                    yield number, positions[start : start + _PATHS_AT_ONCE]

    def _hash(
        self, chunks: Sequence[tuple[int, Positions]], mtimes: Ints, hashers: Sequence[blake2b]
    ) -> None:
        """Hash each chunk for its group. The columns of all chunks are gathered together."""
        if not chunks:
            return
        tree = self._board.tree
        positions = np.concatenate([chunk for _, chunk in chunks])
        rows = tree.numbers[positions]
        heads = np.empty(len(positions), HEAD)
        for field in ("kind", "mode", "uid", "gid", "size"):
            heads[field] = rows[:, NUMBERS.index(field)]
        heads["mtime"] = mtimes[positions]
        lengths = tree.paths.starts[positions + 1] - tree.paths.starts[positions]
        digested = self._digested[positions]
        rare = np.flatnonzero(self._others[positions])
        ends = np.cumsum([len(chunk) for _, chunk in chunks])
        # the ends of the chunks in each of the columns
        columns = (
            ends,
            np.cumsum(lengths)[ends - 1],
            np.searchsorted(rare, ends),
            np.cumsum(digested)[ends - 1] * DIGEST_SIZE,
        )
        names = tree.paths.joined(positions)
        numbers = heads.tobytes()
        others = list(zip(rare.tolist(), positions[rare].tolist(), strict=True))
        digests = self._board.digests[positions[digested]].tobytes()
        first = name = other = digest = 0
        for (group, _), end, name_end, other_end, digest_end in zip(
            chunks, *(column.tolist() for column in columns), strict=True
        ):
            block = _block(
                end - first,
                names[name : name_end - 1],
                numbers[first * HEAD.itemsize : end * HEAD.itemsize],
                b"".join([self._extra(index - first, at) for index, at in others[other:other_end]]),
                digests[digest:digest_end],
            )
            hashers[group].update(block)
            first, name, other, digest = end, name_end, other_end, digest_end

    def _extra(self, index: int, position: int) -> bytes:
        """Return the bytes of the rare fields: a target or leader, a device number, extended attributes."""
        tree = self._board.tree
        leader = tree.leader.get(position)
        target, rdev, xattrs = tree.more.get(position, _NO_MORE)
        major, minor = rdev or (0, 0)
        raw = path_key(target or "") if leader is None else tree.paths.raw(leader)
        parts = [_EXTRA.pack(index, leader is not None, major, minor, len(raw), len(xattrs)), raw]
        for key, value in xattrs:
            name = path_key(key)
            parts += (_XATTR.pack(len(name), len(value)), name, value)
        return b"".join(parts)


def ancestors(tree: Tree, groups: Sequence[Positions]) -> list[Positions]:
    """Return for each group the positions of all directories above its paths, in order, without the root."""
    # neighbours are mostly in one directory
    parents = tree.parent[np.concatenate([NO_POSITIONS, *groups])]
    first = np.diff(parents, prepend=ROOT - 1) != 0
    starts = np.cumsum([0, *map(len, groups)])[:-1]
    first[starts[starts < len(first)]] = True
    chosen = np.flatnonzero(first)
    # one number for a directory of a group
    count = len(tree) + 1
    numbers = (np.searchsorted(starts, chosen, "right") - 1) * count
    level = _without_root(parents[chosen], numbers)
    found = [level]
    while len(level):
        positions = level % count
        level = _without_root(tree.parent[positions], level - positions)
        found.append(level)
    every = distinct(np.concatenate(found))
    starts = np.searchsorted(every, np.arange(len(groups)) * count)
    return slices(every % count, starts.tolist())


def _without_root(directories: npt.NDArray[np.int32], numbers: Positions) -> Positions:
    """Return each directory that is not the root, plus its number, once."""
    below = directories != ROOT
    return distinct(directories[below] + numbers[below])


def _hasher(blocks: Sequence[bytes]) -> blake2b:
    return blake2b(b"".join(blocks), digest_size=SIZE)


def _block(count: int, names: bytes, heads: bytes, extra: bytes, digests: bytes) -> bytes:
    """Return bytes that differ for two lists if any of their tar entries differ.

    Args:
        count: of the entries.
        names, heads: in Tree order; the names are the paths, separated by zero bytes.
        extra: rare fields of some entries, each with the index of its entry.
        digests: joined content digests, in order, of the regular files that are no hard links.
    """
    return b"".join([_LENGTHS.pack(count, len(names), len(extra)), names, heads, extra, digests])
