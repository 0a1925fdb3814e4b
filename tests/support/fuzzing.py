"""Random damage for readers of untrusted bytes: the parsers, the damage, and the bounds of each attempt.

RECHUNK_FUZZ_SECONDS: how long each parser is tried (default 0.5). RECHUNK_FUZZ_SEED: another sequence
(default 1). RECHUNK_FUZZ_REPORT: a file that gets a line of JSON for each parser: its name, the number of
inputs, the seconds, the seed. The same seed gives the same inputs in the same order.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rechunk_podman.errors import RechunkError

SECONDS = float(os.environ.get("RECHUNK_FUZZ_SECONDS", "0.5"))
SEED = os.environ.get("RECHUNK_FUZZ_SEED", "1")
REPORT = os.environ.get("RECHUNK_FUZZ_REPORT")

LIMIT_SECONDS = 10.0
"""Seconds of processor time that an input may take."""

LIMIT_BYTES = 256 << 20
"""Bytes by which an input may raise the memory of the process."""

LEAST = 100
"""Inputs that a parser gets, however long they take."""

LARGEST = 256 << 10
"""Bytes of an input, at most."""

SNIPPETS = (
    b"\0" * 512,
    b"\xff" * 8,
    b"\x80",
    b"-1",
    b"99999999999999999999",
    b"9" * 5000,
    b"\\ud800",
    b"\xc2\xb2\xd9\xa3",
    b"1e999",
    b"NaN",
    b"null",
    b"[" * 200,
    b"[" * 3000,
    b'{"a":' * 1200,
    b"../../etc/passwd",
    b"\r\n",
    b"%s{0}",
)
"""Odd texts: large and negative numbers, digits of other scripts, deep nesting, paths that lead outside."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1 << 63,
    10**400,
    math.inf,
    "",
    "\ud800",
    "a\0b",
    "\u00b2",
    "9" * 5000,
    "../..",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)
"""Values that take the place of any value in a JSON document."""

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_REPEATS = (2, 2, 20, 20, 300, 5000)
_MANY = 100_000
"""So many repetitions that work which grows with their square takes more than LIMIT_SECONDS."""


class Parser(NamedTuple):
    """A reader of untrusted bytes.

    read: raises nothing but a RechunkError, whatever the bytes are.
    corpus: sound inputs, which it reads without an error.
    unit: a damaged input is cut to a multiple of this length.
    """

    read: Callable[[bytes], object]
    corpus: Sequence[bytes]
    unit: int = 1


def damaged(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a copy with one to four changes; an input of JSON has often one of its values replaced.

    Args:
        others: inputs of which pieces are taken over.
    """
    changed = bytearray(_with_another_value(data, chance) if chance.randrange(3) == 0 else data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        to = min(len(changed), at + chance.choice((1, 2, 4, 8, 12, 80, 512)))
        action = chance.randrange(9)
        if action == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif action == 1:
            del changed[at:to]
        elif action == 2:
            changed[at:at] = changed[at:to]
        elif action == 3:
            changed[at:to] = chance.choice(SNIPPETS)
        elif action == 4:
            _put_number(changed, at, chance)
        elif action == 5:
            _move_line(changed, at, chance)
        elif action == 6:
            piece = bytes(changed[at : min(to, at + 12)]) or chance.choice((b" ", b"\n", b"0", b"/"))
            changed[at:at] = piece * (_MANY if chance.randrange(60) == 0 else chance.choice(_REPEATS))
        elif action == 7 and others:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            changed[at:to] = other[start : start + chance.choice((4, 16, 64, 512))]
        elif action == 8 and at < len(changed):
            changed[at] = chance.randrange(256)
    return bytes(changed[:LARGEST])


def _put_number(changed: bytearray, at: int, chance: random.Random) -> None:
    """Replace a binary number by one at the bound of a type, or near the length of the data."""
    width = chance.choice((1, 2, 4, 8))
    number = chance.choice((*_NUMBERS, len(changed), len(changed) - at, at)) + chance.choice((0, 0, 0, 1, -1))
    order = "little" if chance.randrange(2) else "big"
    changed[at : at + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, order)  # type: ignore[arg-type]


def _move_line(changed: bytearray, at: int, chance: random.Random) -> None:
    """Remove a line, and put it at the beginning of another one, or of itself once more."""
    start = changed.rfind(b"\n", 0, at) + 1
    end = changed.find(b"\n", at) + 1 or len(changed)
    line = changed[start:end]
    if chance.randrange(2):
        del changed[start:end]
    to = changed.rfind(b"\n", 0, chance.randrange(len(changed) + 1)) + 1
    changed[to:to] = line


def _with_another_value(data: bytes, chance: random.Random) -> bytes:
    """Replace a value or a key of a JSON document; return other data as they are."""
    if data[:1] not in (b"{", b"["):
        return data
    try:
        document = json.loads(data)
    except ValueError:
        return data
    path = chance.choice(list(places(document)))
    return json.dumps(replaced(document, path, chance.choice(VALUES))).encode()


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in a JSON document, that of the document itself first."""
    yield path
    items = document.items() if isinstance(document, dict) else ()
    for key, value in enumerate(document) if isinstance(document, list) else items:
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a JSON document with another value at a path."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


def tried(reader: Callable[[bytes], object], data: bytes) -> None:
    """Read it; another error than a RechunkError fails the test, and so do too much time and memory."""
    memory, start = _peak(), time.process_time()
    with _alarm(), contextlib.suppress(RechunkError):
        reader(data)
    assert time.process_time() - start < LIMIT_SECONDS
    assert _peak() - memory < LIMIT_BYTES


def _peak() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise TimeoutError in a reader that does not end: after twice the limit, in processor time."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError("the input takes too long")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(name: str, parser: Parser, *, least: int = LEAST) -> None:
    """Try a parser on damaged inputs for SECONDS, and report how many there were."""
    chance = random.Random(f"{SEED} {name}")
    start = time.monotonic()
    count = 0
    while count < least or time.monotonic() < start + SECONDS:
        data = damaged(chance.choice(parser.corpus), chance, parser.corpus)
        data = data[: len(data) - len(data) % parser.unit]
        is_sound = False
        try:
            tried(parser.read, data)
            is_sound = True
        finally:
            if not is_sound:
                _keep(name, data)
        count += 1
    if REPORT is not None:
        line = {"parser": name, "inputs": count, "seconds": time.monotonic() - start, "seed": SEED}
        with open(REPORT, "a") as file:
            file.write(json.dumps(line) + "\n")


def _keep(name: str, data: bytes) -> None:
    """Print an input that was read wrongly, and write it beside the report."""
    print(f"{name}, seed {SEED}: {data[:4000]!r}")
    if REPORT is not None:
        Path(f"{REPORT}.{name.replace(' ', '-')}.input").write_bytes(data)


# A root filesystem as one input: damage changes contents, and sometimes a name.

_MARK = re.compile(rb"(?:\A|\n)=== ([^\n\0]{1,200})\n")


def bundle(files: Mapping[str, bytes]) -> bytes:
    """Return files (path -> content) as one input; no content has a line that begins with `=== `."""
    return b"\n".join(b"=== " + path.encode() + b"\n" + content for path, content in files.items())


def unbundle(data: bytes, top: Path) -> None:
    """Write the files of bundle() below an empty directory; leave out those that the file system refuses."""
    parts = _MARK.split(data)
    for name, content in zip(parts[1::2], parts[2::2], strict=True):
        path = os.fsdecode(name).strip("/")
        if ".." in path.split("/"):
            continue
        with contextlib.suppress(OSError):
            target = top / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def in_directory(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a reader of bundles: it writes the files, in memory if possible, and reads the directory."""
    shared = Path("/dev/shm")

    def reader(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
            unbundle(data, Path(folder))
            read(Path(folder))

    return reader
