"""The signals that end a run in order, and short blocks that they do not interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a run in order."""


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer the signals that end a run until the end of the block, which must be short.

    Then a process, a directory or a change in storage is known, when a signal comes, to the code that undoes
    it. Do nothing outside the main thread, since signals interrupt no other thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # a handler that was not set from Python cannot be put back
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) is not None}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came[:1]:
            signal.raise_signal(late)
