"""Files whose content is not the one that a package database records: something replaced them since.

Such a file changes with the image, not with its package. ("Ownership rules" in docs/components.md)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import NOBODY, Board, Flags, padded_digest
from rechunk_podman.components.content import digest_file, digest_missing
from rechunk_podman.model import Positions
from rechunk_podman.packages.digests import SHA256
from rechunk_podman.rootfs.root import Root

_SHORT = 20
"""Bytes of the shortest digest of SHA-256 that a database records."""


class _Claim(NamedTuple):
    """The record of one package about a file that others list, too.

    number: of the component of the package.
    algorithm: the key of the digest in ALGORITHMS; 0 if the package records no digest.
    """

    number: int
    algorithm: int
    digest: bytes


class Contested:
    """Files that several packages of one database list."""

    __slots__ = ("_claims",)

    def __init__(self) -> None:
        self._claims: dict[int, list[_Claim]] = {}

    def add(
        self,
        board: Board,
        positions: Positions,
        known: Flags,
        digests: npt.NDArray[np.uint8],
        number: int,
        algorithm: int,
    ) -> None:
        """Note which of these files another component describes. Arguments as for Board.describe_all()."""
        leaders = board.leader[positions]
        held = board.described_by[leaders]
        several = board.regular[leaders] & (held != NOBODY) & (held != number)
        source = board.drafts[number].id.source
        for index in np.flatnonzero(several).tolist():
            leader, other = int(leaders[index]), int(held[index])
            if board.drafts[other].id.source != source:
                continue
            claims = self._claims.setdefault(leader, [])
            if not claims:
                recorded = int(board.algorithm[leader])
                claims.append(_Claim(other, recorded, board.digests[leader].tobytes()))
            digest = padded_digest(digests[index].tobytes())
            claims.append(_Claim(number, algorithm if known[index] else 0, digest))

    @property
    def leaders(self) -> list[int]:
        """The positions of the files."""
        return list(self._claims)

    def of(self, board: Board, leader: int) -> list[_Claim]:
        """Return the claims to a file, those of the lowest component id first."""
        return sorted(self._claims.get(leader, ()), key=lambda claim: board.drafts[claim.number].id)


def release_replaced(root: Root, board: Board, contested: Contested) -> None:
    """Read the described files that look changed. Release those of another content than recorded.

    If several packages list a file, it belongs to the one that records its content.

    Raises:
        RootfsError: a file cannot be read.
    """
    leads = board.leader == np.arange(len(board.leader))
    compared = board.algorithm != 0
    # another package than the one that describes it may record the content
    compared[contested.leaders] = True
    doubtful = board.regular & leads & compared & ~board.has_digest
    positions = np.flatnonzero(doubtful)
    if not len(positions):
        return
    recorded = board.digests[positions]
    digest_missing(root, board, board.workers, only=doubtful)
    same = _are_same(board.digests[positions], recorded)
    # a digest may be recorded in part
    board.digests[positions[same]] = recorded[same]
    for leader in positions[~same].tolist():
        described = int(board.described_by[leader])
        claims = contested.of(board, leader)
        rightful = _rightful(root, board, leader, claims)
        number = NOBODY if rightful is None else rightful.number
        if board.owner[leader] in {described, *(claim.number for claim in claims)}:
            board.owner[leader] = number
        board.described_by[leader] = number
        algorithm = 0 if rightful is None else rightful.algorithm
        if rightful is not None and algorithm:
            board.set_digest(leader, rightful.digest)
        elif board.algorithm[leader] != SHA256:
            board.has_digest[leader] = False
        board.algorithm[leader] = algorithm


def _are_same(digests: npt.NDArray[np.uint8], recorded: npt.NDArray[np.uint8]) -> Flags:
    """Return True for each row of digests that equals the recorded one.

    A row that is recorded ends in 12 zeros if it is the first 20 bytes of a longer digest (apk).
    """
    start = digests[:, :_SHORT] == recorded[:, :_SHORT]
    rest = (digests[:, _SHORT:] == recorded[:, _SHORT:]) | ~recorded[:, _SHORT:].any(axis=1, keepdims=True)
    same: Flags = start.all(axis=1) & rest.all(axis=1)
    return same


def _rightful(root: Root, board: Board, leader: int, claims: list[_Claim]) -> _Claim | None:
    """Return the claim that records the content of a file, else one that records no digest, or None.

    Raises:
        RootfsError: the file cannot be read.
    """
    path, size, mtime = board.paths[leader], int(board.size[leader]), int(board.mtime[leader])
    for claim in claims:
        if claim.algorithm:
            digest = padded_digest(digest_file(root, path, size, mtime, claim.algorithm))
            if _are_same(_row(digest), _row(claim.digest))[0]:
                return claim
    return next((claim for claim in claims if not claim.algorithm), None)


def _row(digest: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(digest, np.uint8)[None]
