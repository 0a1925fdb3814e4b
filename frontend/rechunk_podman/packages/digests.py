"""Digests of file contents as package databases record them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DIGEST_SIZE = 32
"""Bytes kept of a content digest; shorter ones are padded with zeros."""

MD5, SHA1, SHA256 = 1, 2, 8
ALGORITHMS = {
    MD5: "md5",
    SHA1: "sha1",
    SHA256: "sha256",
    9: "sha384",
    10: "sha512",
    11: "sha224",
    12: "sha3_256",
    14: "sha3_512",
}
"""OpenPGP's numbers (RFC 9580, 9.5), which rpm uses -> hashlib's names."""


class Digests(NamedTuple):
    """The digests of a package's paths, in columns.

    algorithm: a key of ALGORITHMS.
    recorded: for each path, True if the database has a digest.
    rows: the first bytes of each digest: DIGEST_SIZE, or the length of all; zeros if there is no digest.
    """

    algorithm: int
    recorded: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.uint8]

    @classmethod
    def parse(cls, texts: Sequence[str | None], algorithm: int) -> Digests:
        """Parse digests in hexadecimal digits.

        A path has no digest if its text is empty, None or malformed, or the algorithm is unknown.
        """
        lengths = set(map(len, filter(None, texts)))
        if algorithm in ALGORITHMS and len(lengths) == 1 and (length := lengths.pop()) % 2 == 0:
            with suppress(ValueError):
                recorded = np.array(texts, np.object_).astype(np.bool_)
                joined = bytes.fromhex("".join(filter(None, texts)))
                if len(joined) == length // 2 * int(recorded.sum()):
                    kept = min(length // 2, DIGEST_SIZE)
                    rows = np.zeros((len(texts), kept), np.uint8)
                    rows[recorded] = np.frombuffer(joined, np.uint8).reshape(-1, length // 2)[:, :kept]
                    return cls(algorithm, recorded, rows)
        # broken digests, of several lengths, or none at all: parse each by itself
        recorded = np.zeros(len(texts), np.bool_)
        rows = np.zeros((len(texts), DIGEST_SIZE), np.uint8)
        for index, text in enumerate(texts if algorithm in ALGORITHMS else ()):
            digest = _parse_one(text or "")
            if digest:
                recorded[index] = True
                rows[index] = np.frombuffer(digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0"), np.uint8)
        return cls(algorithm, recorded, rows)


def _parse_one(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
