"""Random damage for readers of untrusted bytes.

RECHUNK_FUZZ_SECONDS: how long each reader is tried (default 1); RECHUNK_FUZZ_SEED: another sequence.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable

from rechunk_podman.errors import RechunkError

SECONDS = float(os.environ.get("RECHUNK_FUZZ_SECONDS", "1"))
SEED = os.environ.get("RECHUNK_FUZZ_SEED", "1")
LIMIT_SECONDS = 5.0

SNIPPETS = (
    b"\0" * 512,
    b"\xff" * 8,
    b"\x80",
    b"-1",
    b"99999999999999999999",
    b"\\ud800",
    b"1e999",
    b"[" * 200,
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A copy with one to four changes: bytes flipped, removed, repeated, or replaced by an odd text."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        to = min(len(changed), at + chance.choice((1, 2, 8, 12, 512)))
        action = chance.randrange(4)
        if action == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif action == 1:
            del changed[at:to]
        elif action == 2:
            changed[at:at] = changed[at:to]
        else:
            changed[at:to] = chance.choice(SNIPPETS)
    return bytes(changed)


def tried(reader: Callable[[bytes], object], data: bytes) -> None:
    """Read it; any other error than a RechunkError fails the test, and so do 5 s of the processor."""
    start = time.process_time()
    with contextlib.suppress(RechunkError):
        reader(data)
    assert time.process_time() - start < LIMIT_SECONDS, data[:2000]
