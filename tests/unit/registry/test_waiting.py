"""The wait for a registry: what it says, and when it ends."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys

import pytest

from rechunk_podman.log import NOTE
from rechunk_podman.programs.process import run
from rechunk_podman.registry import waiting
from rechunk_podman.registry.answers import SilentError
from rechunk_podman.registry.waiting import Wait

MOVING = "import os\nwhile data := os.read(0, 4096): os.write(1, b'x' * (len(data) == 4096))"


def test_a_note_after_twice_the_time_each(caplog):
    wait = Wait("r.example/a", "push docker://r.example/a:1", 60)
    with caplog.at_level(NOTE):
        for seconds in (1, 9, 10, 11, 19, 21, 39, 41):
            wait.quiet(seconds)
        assert [record.levelno for record in caplog.records] == [NOTE] * 3
        assert "waiting for r.example, silent for 10 s (push docker://r.example/a:1)" in caplog.text
        wait.quiet(1)
        wait.quiet(12)
    assert len(caplog.records) == 4
    with pytest.raises(SilentError, match=r"r\.example has been silent for 60 s: cannot push") as caught:
        wait.quiet(60)
    assert "--timeout" in (caught.value.hint or "")


def test_a_silent_process_is_ended(caplog):
    ticks = []
    wait = Wait("r.example/a", "push", 0.4, lambda: ticks.append(1))
    with caplog.at_level(logging.WARNING), pytest.raises(SilentError):
        run(["sleep", "60"], tick=wait.tick, started=wait.started)
    assert ticks


def test_a_process_that_moves_bytes_is_not(monkeypatch):
    """A second goes by at each tick, and the process reads when it is told to."""
    clock = itertools.count()
    monkeypatch.setattr(waiting.time, "monotonic", lambda: float(next(clock)))
    with subprocess.Popen(
        [sys.executable, "-c", MOVING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        wait = Wait("r.example/a", "push", 2.5)
        wait.started(process.pid)
        for _ in range(20):
            process.stdin.write(bytes(4096))
            process.stdin.flush()
            assert process.stdout.read(1)
            wait.tick()
        wait.tick()
        wait.tick()
        with pytest.raises(SilentError):
            wait.tick()
        process.stdin.close()
