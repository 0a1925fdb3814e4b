"""The failures that are tried again, the number of attempts, and the pauses between them."""

from __future__ import annotations

import logging

import pytest

from rechunk_podman.errors import RechunkError
from rechunk_podman.programs.process import CommandError
from rechunk_podman.registry import retry
from rechunk_podman.registry.answers import is_busy, may_pass, messages_of


class Attempts:
    """A piece of work that fails with each of these messages in turn, and then succeeds."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        if self.messages:
            raise RechunkError(self.messages.pop(0))
        return self.count


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were slept; nobody sleeps."""
    found: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


def is_passing(error):
    return error.message == "busy"


def test_a_success_is_not_repeated(waits):
    work = Attempts()
    assert retry.retry(work, "work", is_passing) == 1
    assert waits == []


def test_the_wait_doubles_and_is_told(waits, caplog):
    work = Attempts("busy", "busy", "busy")
    with caplog.at_level(logging.WARNING):
        assert retry.retry(work, "do it", is_passing, note="; nothing is lost") == 4
    assert waits == [1.0, 2.0, 4.0]
    assert "attempt 3 of 4 to do it failed: busy" in caplog.text
    assert "trying again in 4 s; nothing is lost" in caplog.text


@pytest.mark.parametrize(
    ("messages", "count", "last"),
    [(["busy"] * 9, 4, "busy"), (["busy", "gone"], 2, "gone"), (["gone"], 1, "gone")],
)
def test_the_last_error_is_raised(waits, messages, count, last):
    work = Attempts(*messages)
    with pytest.raises(RechunkError, match=last):
        retry.retry(work, "work", is_passing)
    assert work.count == count
    assert len(waits) == count - 1


def test_another_exception_is_not_repeated(waits):
    def work():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        retry.retry(work, "work", lambda _: True)
    assert waits == []


def failed(line, status=1):
    return CommandError("skopeo failed", status, context=(line, "command: skopeo inspect EOF"), hint=None)


@pytest.mark.parametrize(
    ("error", "busy", "passes"),
    [
        (failed("unexpected EOF"), True, True),
        (failed("connect: connection refused"), False, True),
        (failed("manifest unknown"), False, False),
        (failed("unexpected EOF", status=-9), False, False),
        (failed("reading r.example/EOF: manifest unknown"), False, False),
        (RechunkError("HTTP status: 503"), True, True),
    ],
)
def test_which_failures_may_pass(error, busy, passes):
    assert is_busy(error, "r.example/EOF") == busy
    assert may_pass(error, "r.example/EOF") == passes


def test_lines_of_a_log_are_unpacked():
    error = failed(r'time="2026-01-01T00:00:00Z" level=fatal msg="reading \"x\": gone"')
    assert messages_of(error) == ['reading "x": gone']


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        (["dial tcp 192.0.2.1:443: i/o timeout"] * 9, 2),
        (["busy", "net/http: TLS handshake timeout", "busy", "context deadline exceeded"], 4),
        (["busy", "busy", "connect: connection timed out"], 4),
    ],
)
def test_silence_is_waited_for_twice(waits, messages, count):
    work = Attempts(*messages)
    try:
        assert retry.retry(work, "work", lambda _: True) == count
    except RechunkError:
        assert work.count == count
