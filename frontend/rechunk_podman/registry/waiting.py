"""Waits for a registry: log a note about a long silence, and raise if it lasts too long.

A tool that uploads waits for ever, without output, while a registry is silent. The bytes that it has read and
written show if data still moves (proc(5), /proc/PID/io: files and sockets alike).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from rechunk_podman.log import note
from rechunk_podman.oci.reference import host_of
from rechunk_podman.registry.answers import SilentError

log = logging.getLogger(__name__)

FIRST_NOTE = 10.0
"""Seconds of silence until the first note; each further one comes after twice the time."""

MOVES = 1024
"""Bytes that end a silence; fewer do not count, because the Go runtime wakes itself up with a few."""


class Wait:
    """The wait for one registry.

    Args:
        repository: the repository in the registry.
        doing: the work, for messages: `push …`.
        limit: seconds of silence after which the wait ends.
        tick: called by `tick()`.
    """

    def __init__(
        self, repository: str, doing: str, limit: float, tick: Callable[[], None] | None = None
    ) -> None:
        self._host = host_of(repository)
        self._doing = doing
        self._limit = limit
        self._tick = tick
        self._next_note = FIRST_NOTE
        self._pid: int | None = None
        self._moved = 0
        self._since = time.monotonic()
        self._looked = 0.0

    def started(self, pid: int) -> None:
        """Watch a process from now on."""
        self._pid, self._moved, self._next_note = pid, 0, FIRST_NOTE
        self._since = time.monotonic()

    def tick(self) -> None:
        """Check, about once a second, if the process has moved any bytes.

        Raises:
            SilentError: as quiet().
        """
        if self._tick is not None:
            self._tick()
        now = time.monotonic()
        if self._pid is None or now - self._looked < min(1.0, self._limit / 4):
            return
        self._looked = now
        moved = _moved_by(self._pid)
        if moved is None or abs(moved - self._moved) >= MOVES:
            self._moved, self._since, self._next_note = moved or 0, now, FIRST_NOTE
        else:
            self.quiet(now - self._since)

    def quiet(self, seconds: float) -> None:
        """Log a note if the silence has become long.

        Args:
            seconds: of silence so far.

        Raises:
            SilentError: it has become too long.
        """
        if seconds >= self._limit:
            raise SilentError(
                f"{self._host} has been silent for {seconds:.0f} s: cannot {self._doing}",
                hint="is the registry well? run the same command again; --timeout SECONDS waits longer",
            )
        if seconds < FIRST_NOTE:
            self._next_note = FIRST_NOTE
        if seconds >= self._next_note:
            self._next_note *= 2
            text = "waiting for %s, silent for %.0f s (%s); --timeout gives up after %.0f s"
            note(log, text, self._host, seconds, self._doing, self._limit)


def _moved_by(pid: int) -> int | None:
    """Return the bytes that a process and its children have read and written so far; None if unknown."""
    try:
        children = [
            child
            for path in Path(f"/proc/{pid}/task").glob("*/children")
            for child in path.read_text().split()
        ]
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        counts = dict(line.split(": ") for line in lines)
        below = sum(_moved_by(int(child)) or 0 for child in children)
        return int(counts["rchar"]) + int(counts["wchar"]) + below
    except (OSError, ValueError, KeyError):
        return None
