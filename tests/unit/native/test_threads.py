"""Several threads in the extension at once.

test_sanitizers.py runs this file first under ThreadSanitizer: state of the process that the first call sets
is set by several threads at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from rechunk_podman.model import NUMBERS
from rechunk_podman.native import TarStream, read_directories, read_files
from rechunk_podman.pathtable import PathTable

COUNT = 4
FILES = 300


@pytest.fixture
def root(tmp_path):
    for number in range(FILES):
        folder = tmp_path / f"{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_bytes(b"%d" % number * 1000)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def at_once(work: Callable[[int], object]) -> list[object]:
    """Return the result of each of COUNT threads, which start together, for its number."""
    results: list[object] = [None] * COUNT
    barrier = threading.Barrier(COUNT)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=[number]) for number in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def columns(root, times=1):
    text, numbers, _, more, below, _ = read_directories(root, [""] * times, (), (), 1 << 20)
    assert not below
    return PathTable(text), np.frombuffer(numbers, np.int64).reshape(-1, len(NUMBERS)), more


def test_threads_list_directories(root):
    times = 50  # so long that all of them are at it
    first, *others = at_once(lambda _: columns(root, times))
    assert len(first[0]) == (FILES + 7) * times
    for paths, numbers, more in others:
        assert (paths, more) == (first[0], {})
        assert np.array_equal(numbers, first[1])


def test_threads_read_files(root):
    paths, numbers, _ = columns(root)
    files = [(path, row[4], row[5]) for path, row in zip(paths, numbers.tolist(), strict=True) if row[0] == 0]
    assert len(files) == FILES
    whole = b"".join(b"%d" % int(path.rpartition("/")[2]) * 1000 for path, *_ in files)
    assert at_once(lambda _: read_files(root, files)) == [whole] * COUNT


def stream_of(root) -> TarStream:
    paths, numbers, more = columns(root)
    positions = np.argsort(np.array(paths)).astype(np.int64)
    mtimes = np.zeros(len(paths), np.int64)
    return TarStream(root, paths.text, paths.starts, numbers, more, positions, mtimes, {}, lambda _: b"")


def filled(stream: TarStream) -> bytes:
    buffer = bytearray(1 << 16)
    pieces = []
    while count := stream.fill(buffer, len(buffer)):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def test_threads_make_tars(root):
    expected = filled(stream_of(root))
    streams = [stream_of(root) for _ in range(COUNT)]
    assert at_once(lambda number: filled(streams[number])) == [expected] * COUNT


def test_a_stream_that_another_thread_uses_is_refused(root):
    """Each call either has the whole of the stream or is refused; nothing is read twice or lost."""
    expected = filled(stream_of(root))
    for _ in range(5):
        stream = stream_of(root)
        pieces: list[bytes] = []

        def take(_: int, stream: TarStream = stream, pieces: list[bytes] = pieces) -> int:
            refused = 0
            buffer = bytearray(1 << 20)
            while sum(map(len, pieces)) < len(expected):
                try:
                    count = stream.fill(buffer, len(buffer))
                except ValueError as error:
                    assert "another thread" in str(error)  # noqa: PT017
                    refused += 1
                else:
                    pieces.append(bytes(buffer[:count]))
            return refused

        refusals = at_once(take)
        assert sum(map(len, pieces)) == len(expected) == stream.size
    assert len(refusals) == COUNT
