"""The estimate of the bytes of entries in a compressed layer, beside zstd itself."""

from __future__ import annotations

import random

import pytest
import zstandard

from rechunk_podman.history.packed import BLOCK, PackedSizes, header
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.tar import Member


def file(path: str, data: bytes) -> tuple[Member, bytes]:
    return Member(path, path, Kind.FILE, 0o644, 0, 0, len(data), 0, None, None, (), None), data


def estimate(files: list[tuple[Member, bytes]]) -> list[int]:
    """Return the estimated bytes of each file."""
    packed = PackedSizes()
    for entry, data in files:
        packed.begin_entry(entry)
        for start in range(0, len(data), 50_000):
            packed.add(data[start : start + 50_000])
        packed.end_entry()
    return packed.finish()


def packed_alone(files: list[tuple[Member, bytes]]) -> int:
    """Return the bytes of a layer of these files."""
    return len(zstandard.ZstdCompressor(level=3).compress(b"".join(header(m) + data for m, data in files)))


def words(seed: str, count: int) -> bytes:
    chance = random.Random(seed)
    return b" ".join(b"%06x" % chance.randrange(1 << 24) for _ in range(count))


def test_many_small_files_do_not_weigh_more_than_they_take() -> None:
    """A block ended after each of them costs more than the files: they would take from the large ones."""
    small = [file(f"usr/share/zone/{n:04}", words("same", 40) + b"%d" % n) for n in range(2_000)]
    large = [file(f"usr/lib/{n}", words(f"large {n}", 100_000)) for n in range(4)]
    sizes = estimate([*small, *large])
    assert sum(sizes[:2_000]) == pytest.approx(packed_alone(small), rel=0.03)
    assert sum(sizes[2_000:]) == pytest.approx(packed_alone(large), rel=0.03)
    assert sum(sizes) == pytest.approx(packed_alone([*small, *large]), rel=0.01)


def test_large_files_are_cut_where_their_data_changes() -> None:
    """A push compresses megabytes at once, so that zstd ends blocks between code and tables."""
    chance = random.Random("program")
    pieces = []
    for number in range(120):
        pieces += [chance.randbytes(9_000), words(f"{number}", 5_000)]
    program = [file("usr/bin/large", b"".join(pieces))]
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    in_blocks = len(stream.compress(program[0][1])) + len(stream.flush())
    assert packed_alone(program) < 0.98 * in_blocks
    assert estimate(program) == [pytest.approx(packed_alone(program), rel=0.005)]


def test_translations_lie_together_in_their_component() -> None:
    """In the layer the next translation of a program is megabytes away: zstd does not see it."""
    texts = words("messages", 3_000)
    mine, all_files = [], []
    for language in range(12):
        mine.append(
            file(f"usr/share/locale/{language:02}/LC_MESSAGES/apt.mo", texts + words(f"{language}", 800))
        )
        all_files += [
            mine[-1],
            file(f"usr/share/locale/{language:02}/x", random.Random(language).randbytes(3 << 20)),
        ]
    sizes = estimate(all_files)
    assert sum(sizes[::2]) == pytest.approx(packed_alone(mine), rel=0.1)


def test_an_entry_of_many_blocks_and_an_empty_layer() -> None:
    data = words("one", BLOCK)
    assert estimate([file("a", data)]) == [pytest.approx(packed_alone([file("a", data)]), rel=0.001)]
    assert estimate([]) == []
