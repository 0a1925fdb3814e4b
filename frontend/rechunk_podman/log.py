"""NOTE: a log level between INFO and WARNING, shown by default. The phases of long work, for its progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NOTE = 25
"""The level. The command line writes such messages as `note: …` to stderr."""

logging.addLevelName(NOTE, "NOTE")


def note(log: logging.Logger, message: str, *values: object) -> None:
    """Log at the level NOTE, with the arguments of Logger.info()."""
    log.log(NOTE, message, *values)


_listeners: list[Callable[[str, int], object]] = []


def begin_phase(name: str, total: int = 0) -> None:
    """Tell the listeners that a phase begins.

    Args:
        total: bytes of files that it reads; 0 if unknown.
    """
    for listener in _listeners:
        listener(name, total)


@contextmanager
def phases_to(listener: Callable[[str, int], object]) -> Iterator[None]:
    """Call the listener with (name, total) of each phase that begins."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
