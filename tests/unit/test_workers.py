"""Threads that work for another one, and what becomes of their failures."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from rechunk_podman.errors import RootfsError
from rechunk_podman.workers import MORE_BEGUN, Workers


def square(task):
    return task * task


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_item_is_done_once(count):
    with Workers(count) as workers:
        done = list(workers.map(square, ((task,) for task in range(20))))
    assert sorted(done) == [(task, task * task) for task in range(20)]


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_to_do(count):
    with Workers(count) as workers:
        assert list(workers.map(square, [])) == []


def test_one_worker_is_the_caller_itself():
    with Workers(1) as workers:
        assert workers.submit(threading.get_ident).result() == threading.get_ident()
    with Workers(2) as workers:
        assert workers.submit(threading.get_ident).result() != threading.get_ident()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_items_are_taken_as_they_are_needed(count):
    """None ahead of those that are being worked at, each by one thread at a time."""
    taken, done = [], []

    def items():
        for number in range(200):
            taken.append(number)
            yield (number,)

    def work(number):
        done.append(number)
        assert len(taken) - len(done) < count
        return number

    with Workers(count) as workers:
        assert len(list(workers.map(work, items()))) == len(taken) == 200


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_function_may_hold_several_items(count):
    def pairs(mine):
        for first in mine:
            yield first + next(mine, 0)

    with Workers(count) as workers:
        assert sum(workers.share(pairs, range(101))) == sum(range(101))


@pytest.mark.parametrize("count", [2, 3])
def test_who_wants_no_more_waits_for_the_threads(count):
    working = set()

    def work(mine):
        for number in mine:
            working.add(number)
            yield number
            workers.ended.wait(60)
            working.discard(number)

    with Workers(count) as workers:
        results = workers.share(work, range(100))
        next(results)
        results.close()
        assert not working
        assert workers.ended.is_set()


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_arrives_as_it_was_raised(count):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield (number,)

    def fail(task):
        if task == 3:
            raise RootfsError("the message", hint="the hint")
        return task

    with Workers(count) as workers, pytest.raises(RootfsError) as caught:
        list(workers.map(fail, items()))
    assert (caught.value.message, caught.value.hint) == ("the message", "the hint")
    assert len(taken) < 100


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_among_the_items_arrives(count):
    def items():
        yield (1,)
        raise RootfsError("the message")

    with Workers(count) as workers, pytest.raises(RootfsError, match="the message"):
        list(workers.map(square, items()))


def test_the_end_is_told_to_who_works_and_waited_for():
    with Workers(2) as workers:
        futures = [workers.submit(workers.ended.wait) for _ in range(5)]
    assert [future.result() for future in futures if not future.cancelled()] == [True, True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker")]


def test_an_interrupt_ends_them():
    text = """
import os, signal, sys
from rechunk_podman.workers import Workers
def work(workers, task):
    if task == 0:
        os.kill(os.getpid(), signal.SIGINT)
    workers.ended.wait()
try:
    with Workers(2) as workers:
        list(workers.map(work, ((workers, task) for task in range(4))))
except KeyboardInterrupt:
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", text], check=False, timeout=60).returncode == 7


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_values_come_in_the_order_of_the_items(count):
    def letters(word):
        yield from word

    words = ["some", "", "words", "of", "it"] * 20
    with Workers(count) as workers:
        found = list(workers.in_order(letters, words, ahead=2))
    assert found == [(index, letter) for index, word in enumerate(words) for letter in word]


def test_items_that_follow_are_worked_at_meanwhile():
    second = threading.Event()

    def work(number):
        if number:
            second.set()
        else:
            assert second.wait(60)
        yield number

    with Workers(2) as workers:
        assert [value for _, value in workers.in_order(work, [0, 1])] == [0, 1]


def test_the_values_that_wait_are_bounded():
    made = [0, 0]
    is_full = threading.Event()

    def work(item):
        for number in range(100):
            made[item] += 1
            if item and number == 7:
                is_full.set()
            yield number

    with Workers(2) as workers:
        for index, value in workers.in_order(work, [0, 1], ahead=8):
            if index == 0:
                assert made[0] <= value + 8
                assert is_full.wait(60)
                assert made[1] <= 8
    assert made == [100, 100]


def test_the_items_that_wait_are_bounded():
    begun = []

    def work(item):
        begun.append(item)
        yield item

    with Workers(2) as workers:
        for index, _ in workers.in_order(work, range(100)):
            assert max(begun) < index + 2 + MORE_BEGUN
    assert sorted(begun) == list(range(100))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_function_waits_until_its_values_are_used(count):
    used = []

    def work(item):
        for number in range(5):
            yield [item, number]
            yield None
            assert used[-1] == (item, number)

    with Workers(count) as workers:
        for _, value in workers.in_order(work, range(10)):
            used.append(tuple(value))
    assert len(used) == 50


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_failure_comes_after_the_values_before_it(count):
    def work(item):
        yield item
        if item == 3:
            raise RootfsError("broken")
        if item > 3:
            yield from iter(int, 1)  # without an end

    found = []
    with Workers(count) as workers, pytest.raises(RootfsError, match="broken"):
        found.extend(value for _, value in workers.in_order(work, range(10), ahead=4))
    assert found == [0, 1, 2, 3]


def test_a_caller_that_stops_ends_the_threads():
    closed = []

    def work(item):
        try:
            yield from iter(int, 1)
        finally:
            closed.append(item)

    with Workers(2) as workers:
        values = workers.in_order(work, range(4), ahead=4)
        assert next(values) == (0, 0)
        values.close()
        assert 0 in closed
