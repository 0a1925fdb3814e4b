"""Threads that take work off this one: reading, hashing, compressing hardly need the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """Some threads; a context manager, which ends them. With a count of 1 all work is done right here.

    Args:
        count: how many there are to be, at least 1.
    """

    __slots__ = ("_executor", "count", "ended")

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self.ended = threading.Event()
        """Set when no result is wanted any more; long work looks at it."""
        self._executor = ThreadPoolExecutor(self.count, "worker") if self.count > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drops what has not begun, and waits for the rest. Doing it twice is harmless."""
        self.ended.set()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Has function(*arguments) done, now or later; the result, or what it raised, is in the future."""
        if self._executor is not None:
            return self._executor.submit(function, *arguments)
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(error)
        return future

    def map(self, function: Callable[..., T], items: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, T]]:
        """Has function(*item) done for every item: (place of the item, result), as they are done.

        Items are taken only as threads are free for them, and one more.

        Raises:
            What function or items raise; no further item is taken then.
        """
        running: dict[Future[T], int] = {}
        most = self.count + 1 if self._executor is not None else 1
        for place, item in enumerate(items):
            running[self.submit(function, *item)] = place
            while len(running) >= most:
                yield from _done(running)
        while running:
            yield from _done(running)


def _done(running: dict[Future[T], int]) -> list[tuple[int, T]]:
    finished = wait(running, return_when=FIRST_COMPLETED).done
    return [(running.pop(future), future.result()) for future in finished]
