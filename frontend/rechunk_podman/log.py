"""The log level NOTE, between INFO and WARNING and shown by default; events of long work, for progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NOTE = 25
"""The log level NOTE. The command line writes its messages as `note: …` to stderr."""

logging.addLevelName(NOTE, "NOTE")


def note(log: logging.Logger, message: str, *values: object) -> None:
    """Log at the level NOTE, with the arguments of Logger.info()."""
    log.log(NOTE, message, *values)


_listeners: list[Callable[[str, int], object]] = []


def begin_phase(name: str, total: int = 0) -> None:
    """Call the listeners with the name and total of a phase that begins.

    Args:
        total: bytes of files that the phase reads; 0 if unknown.
    """
    for listener in _listeners:
        listener(name, total)


_blob_listeners: list[Callable[[str], object]] = []


def complete_blob(path: str) -> None:
    """Call the listeners with the path of a blob that was written, named by the hex digits of its digest."""
    for listener in _blob_listeners:
        listener(path)


@contextmanager
def blobs_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Call the listener with the path of each blob of a layer that was written into a layout."""
    _blob_listeners.append(listener)
    try:
        yield
    finally:
        _blob_listeners.remove(listener)


@contextmanager
def phases_to(listener: Callable[[str, int], object]) -> Iterator[None]:
    """Call the listener with (name, total) of each phase that begins."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
