"""The processes that work on a root filesystem, and what becomes of their failures."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

from rechunk_podman.errors import RechunkError, RootfsError
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root


@pytest.fixture
def root(tmp_path):
    (tmp_path / "file").write_text("content")
    with Root(tmp_path) as root:
        yield root


def square(root, task):
    return [task * task, "é\udcff", None, root.read("file")]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_item_is_done_once(root, count):
    with Crew(root, count) as crew:
        assert crew.size == (count if count > 1 else 0)
        done = list(crew.map(square, ((task,) for task in range(20))))
        assert crew.free
    assert sorted(done) == [(task, [task * task, "é\udcff", None, b"content"]) for task in range(20)]


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_to_do(root, count):
    with Crew(root, count) as crew:
        assert list(crew.map(square, [])) == []


def process(root, *_):
    return os.getpid()


def test_work_is_done_in_other_processes(root):
    with Crew(root, 2) as crew:
        assert os.getpid() not in {pid for _, pid in crew.map(process, [()] * 4)}
    with Crew(root, 1) as crew:
        assert {pid for _, pid in crew.map(process, [()] * 4)} == {os.getpid()}


def large(root, data):
    return data * 2


def test_messages_may_be_large(root):
    with Crew(root, 2) as crew:
        for _, data in crew.map(large, [(b"x" * 3_000_000,)] * 4):
            assert data == b"x" * 6_000_000


def test_items_are_taken_as_they_are_needed(root):
    """No more than one ahead of those that are being worked at."""
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield (number,)

    with Crew(root, 2) as crew:
        for done, _ in enumerate(crew.map(square, items())):
            assert len(taken) <= done + 2 + 1 + 1


def test_kinds_do_not_mix(root):
    with Crew(root, 3) as crew:
        crew.submit("one", "a", square, 3)
        crew.submit("two", "b", square, 4)
        assert crew.wait("two")[0] == "b"
        assert [place for place, _ in crew.map(square, [(1,)])] == [0]
        assert crew.wait("one") == ("a", [9, "é\udcff", None, b"content"])


def append(root, text, descriptor):
    os.write(descriptor, text)


@pytest.mark.parametrize("count", [1, 2])
def test_a_descriptor_is_lent(root, count, tmp_path):
    with Crew(root, count) as crew, (tmp_path / "lent").open("wb") as file:
        before = len(os.listdir("/proc/self/fd"))
        list(crew.map(append, [(b"x",)] * 9, lend=file.fileno()))
        assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "lent").read_bytes() == b"x" * 9


def fail(root, task):
    if task == 3:
        raise RootfsError("the message", context=["a", "b"], hint="the hint", exit_code=7)
    return task


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_arrives_as_it_was_raised(root, count):
    with Crew(root, count) as crew, pytest.raises(RootfsError) as caught:
        list(crew.map(fail, ((task,) for task in range(10))))
    assert (caught.value.message, caught.value.context) == ("the message", ("a", "b"))
    assert (caught.value.hint, caught.value.exit_code) == ("the hint", 7)


def divide(root):
    return 1 // 0


def test_a_bug_arrives_with_its_traceback(root):
    with Crew(root, 2) as crew, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(crew.map(divide, [()]))


def kill(root, task):
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_killed_process_is_an_error(root):
    with Crew(root, 2) as crew, pytest.raises(RechunkError, match="SIGKILL") as caught:
        list(crew.map(kill, ((task,) for task in range(3))))
    assert "--threads" in caught.value.hint


def leave(root, *_):
    os._exit(0)


def test_a_process_that_just_ends_is_an_error(root):
    with Crew(root, 2) as crew, pytest.raises(RechunkError, match="ended early"):
        list(crew.map(leave, [()] * 3))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def pause(root, task):
    if task:
        signal.pause()
    return task


def test_no_process_outlives_the_crew(root):
    before = children()
    with Crew(root, 3) as crew:
        assert next(crew.map(pause, ((task,) for task in range(3)))) == (0, 0)
        assert len(children()) == len(before) + 3
    assert children() == before
    with pytest.raises(RootfsError), Crew(root, 2) as crew:
        list(crew.map(fail, [(3,), (4,)]))
    assert children() == before


def test_other_threads_forbid_a_fork(root, caplog):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with Crew(root, 2) as crew:
            assert crew.size == 0
            assert list(crew.map(process, [()])) == [(0, os.getpid())]
    finally:
        stop.set()
        thread.join()
    assert "other threads run" in caplog.text


def test_an_interrupt_ends_the_processes(root):
    text = """
import os, signal, sys
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root
def work(root, task):
    if task == 0:
        os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
try:
    with Root(sys.argv[1]) as root, Crew(root, 2) as crew:
        list(crew.map(work, ((task,) for task in range(4))))
except KeyboardInterrupt:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        sys.exit(7 if not file.read() else 8)
"""
    done = subprocess.run([sys.executable, "-c", text, root.path], check=False, timeout=60)
    assert done.returncode == 7


@pytest.mark.parametrize("busy", [False, True])
def test_processes_end_with_their_parent(root, busy):
    """Also when it is killed: its end of the channel is nobody else's, and nobody works on."""
    text = """
import os, signal, sys
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root
def work(root, task):
    if task == 1:
        os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
with Root(sys.argv[1]) as root, Crew(root, 3) as crew:
    if sys.argv[2:]:
        list(crew.map(work, ((task,) for task in range(4))))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    # Whoever is left holds standard output open, and so the end of it up.
    done = subprocess.run(
        [sys.executable, "-c", text, root.path, *["busy"] * busy],
        check=False,
        timeout=60,
        stdout=subprocess.PIPE,
    )
    assert done.returncode == -signal.SIGKILL


def test_their_parents_memory_stays_their_parents(root):
    """They are forked before anything large is there, and keep no collector that would touch it."""
    with Crew(root, 2) as crew:
        assert {enabled for _, enabled in crew.map(collecting, [()] * 2)} == {False}


def collecting(root):
    return gc.isenabled()
