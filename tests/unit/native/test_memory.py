"""The memory of the extension in C, which sanitizers would distort."""

from __future__ import annotations

import os

import numpy as np

from rechunk_podman.model import NUMBERS
from rechunk_podman.native import TarStream, path_starts


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def no_header(_: int) -> bytes:
    raise AssertionError


def test_a_stream_takes_no_memory_for_each_entry():
    count = 200_000
    text = b"".join(b"some/directory/with-file-%06d\0" % number for number in range(count))
    starts, numbers, zeros = path_starts(text), bytes(8 * len(NUMBERS) * count), bytes(8 * count)
    positions = np.arange(count, dtype=np.int64)
    before = resident_bytes()
    stream = TarStream(-1, text, starts, numbers, {}, positions, zeros, {}, no_header)
    grown = resident_bytes() - before
    # the columns belong to the stream now
    del text, starts, numbers, zeros, positions
    assert stream.size == 512 * count + 1024
    buffer = bytearray(512 * count)
    assert stream.fill(buffer, len(buffer)) == len(buffer)
    assert grown < 2 << 20
    assert bytes(buffer[-512:]).startswith(b"some/directory/with-file-199999\0")
