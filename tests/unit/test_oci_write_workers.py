"""The processes that write layers, and what becomes of their failures; compressors."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import zlib

import pytest
import zstandard

from rechunk_podman.errors import RechunkError, RootfsError, UsageError
from rechunk_podman.oci.compress import Compression
from rechunk_podman.oci.workers import run


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_task_is_done_once(count):
    done = dict(run(list(range(20)), lambda task: [task * task, "é", None], count))
    assert done == {task: [task * task, "é", None] for task in range(20)}


def test_no_tasks():
    assert list(run([], lambda task: [task], 4)) == []


def test_tasks_run_in_other_processes():
    processes = {pid for _, (pid,) in run([1, 2, 3, 4], lambda task: [os.getpid()], 2)}
    assert os.getpid() not in processes
    assert [pid for _, (pid,) in run([1], lambda task: [os.getpid()], 2)] == [os.getpid()]


def test_results_may_be_large():
    assert [len(text) for _, (text,) in run([1, 2], lambda task: ["x" * 1_000_000], 2)] == [1_000_000] * 2


def fail(task):
    if task == 3:
        raise RootfsError("the message", context=["a", "b"], hint="the hint", exit_code=7)
    return [task]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_arrives_as_it_was_raised(count):
    with pytest.raises(RootfsError) as caught:
        list(run(range(10), fail, count))
    assert (caught.value.message, caught.value.context) == ("the message", ("a", "b"))
    assert (caught.value.hint, caught.value.exit_code) == ("the hint", 7)


def test_a_bug_arrives_with_its_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(run([1, 2], lambda task: [1 // 0], 2))


def kill(task):
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return [task]


def test_a_killed_process_is_an_error():
    with pytest.raises(RechunkError, match="SIGKILL") as caught:
        list(run(range(3), kill, 2))
    assert "--threads" in caught.value.hint


def leave(task):
    os._exit(0)


def test_a_process_that_just_ends_is_an_error():
    with pytest.raises(RechunkError, match="ended early"):
        list(run(range(3), leave, 2))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def test_no_process_outlives_the_work():
    def long(task):
        if task:
            signal.pause()
        return [task]

    before = children()
    for task, _ in run(range(3), long, 3):
        assert task == 0
        break
    assert children() == before
    with pytest.raises(RootfsError):
        list(run([3, *range(100, 103)], fail, 2))
    assert children() == before


def test_an_interrupt_ends_the_processes():
    text = """
import os, signal, sys
from rechunk_podman.oci.workers import run
def work(task):
    if task == 0:
        os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
    return [task]
try:
    list(run(range(4), work, 2))
except KeyboardInterrupt:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        sys.exit(7 if not file.read() else 8)
"""
    assert subprocess.run([sys.executable, "-c", text], check=False, timeout=60).returncode == 7


def test_a_parent_that_is_killed_leaves_no_process():
    text = """
import os, signal
from rechunk_podman.oci.workers import run
def work(task):
    if task == 1:
        os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
list(run(range(4), work, 2))
"""
    # Whoever is left holds standard output open, and so the end of it up.
    done = subprocess.run([sys.executable, "-c", text], check=False, timeout=60, stdout=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def data():
    """40 MiB of which about a half can be compressed: five jobs of zstd."""
    source = random.Random(1)
    piece = [source.randbytes(1 << 16) + b"text " * 13107 for _ in range(4)]
    return b"".join(source.choice(piece) for _ in range(320))


def compress(compression, data, threads, chunk):
    compressor = compression.compressor(len(data), threads)
    view = memoryview(data)
    parts = [compressor.compress(view[start : start + chunk]) for start in range(0, len(data), chunk)]
    return b"".join([*parts, compressor.flush()])


@pytest.mark.parametrize("level", [1, 3, 9])
def test_zstd_does_not_depend_on_threads_or_chunks(data, level):
    compression = Compression.parse("zstd", level)
    expected = compress(compression, data, 1, 1 << 20)
    for threads, chunk in ((2, 1 << 20), (3, 100_003), (7, len(data))):
        assert compress(compression, data, threads, chunk) == expected
    frame = zstandard.get_frame_parameters(expected)
    assert frame.content_size == len(data)
    assert frame.has_checksum
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    assert decompressor.decompress(expected) == data
    assert decompressor.unused_data == b""


def test_gzip_has_a_fixed_header(data):
    packed = compress(Compression.parse("gzip", 1), data, 1, 1 << 20)
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(packed) == data
    assert compress(Compression.parse("gzip", 1), data, 4, 99_991) == packed


def test_nothing_at_all_can_be_compressed():
    assert gzip.decompress(compress(Compression.parse("gzip"), b"", 1, 1)) == b""
    assert zstandard.decompress(compress(Compression.parse("zstd"), b"", 2, 1)) == b""
    assert Compression().compressor(10) is None


def test_compressions():
    assert Compression.parse("none", None) == Compression()
    assert Compression.parse("gzip") == Compression("gzip", 6)
    assert Compression.parse("zstd") == Compression("zstd", 3)
    program = Compression.parse("zstd", 19).program
    assert program == ("zstd", ".".join(map(str, zstandard.ZSTD_VERSION)), 19)
    assert Compression.parse("none", 9).program is None
    assert Compression.parse("gzip", 0).program == ("zlib", zlib.ZLIB_RUNTIME_VERSION, 0)
    for kind, level in (("gzip", -1), ("gzip", 10), ("zstd", 23), ("bzip2", None)):
        with pytest.raises(UsageError):
            Compression.parse(kind, level)
