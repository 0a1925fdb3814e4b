"""Threads that take work off this one: reading, hashing, compressing hardly need the interpreter's lock."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

S = TypeVar("S")
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

        Raises:
            As share().
        """

        def work(mine: Iterator[tuple[int, tuple[object, ...]]]) -> Iterator[tuple[int, T]]:
            for place, item in mine:
                yield place, function(*item)

        return self.share(work, enumerate(items))

    def share(self, function: Callable[[Iterator[S]], Iterator[T]], items: Iterable[S]) -> Iterator[T]:
        """Has function go through the items, in every thread at once: what all of them yield, as it comes.

        A thread takes an item when it wants one; they are made there, in order, one at a time.

        Raises:
            What function or items raise. Then, or where the caller wants no more, the end is told, and the
            threads are waited for.
        """
        shared = _Shared(items, self.ended)
        if self._executor is None:
            yield from function(shared)
            return
        # what was yielded, in a tuple; and each thread when it is done
        found: SimpleQueue[tuple[T] | Future[None]] = SimpleQueue()
        running = {self._executor.submit(_go_through, function, shared, found) for _ in range(self.count)}
        for future in running:
            future.add_done_callback(found.put)
        try:
            while running:
                came = found.get()
                if isinstance(came, Future):
                    running.discard(came)
                    came.result()
                else:
                    yield came[0]
        finally:
            if running:
                self.ended.set()
                wait(running)


class _Shared(Iterator[S]):
    """Items for several threads, until the end is told or one of them has failed."""

    __slots__ = ("_ended", "_items", "_lock", "failed")

    def __init__(self, items: Iterable[S], ended: threading.Event) -> None:
        self._items = iter(items)
        self._ended = ended
        self._lock = threading.Lock()
        self.failed = False

    def __next__(self) -> S:
        with self._lock:
            if self.failed or self._ended.is_set():
                raise StopIteration
            return next(self._items)


def _go_through(
    function: Callable[[Iterator[S]], Iterator[T]],
    items: _Shared[S],
    found: SimpleQueue[tuple[T] | Future[None]],
) -> None:
    try:
        for result in function(items):
            found.put((result,))
    except BaseException:
        items.failed = True
        raise


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable cyclic garbage collection while many objects without cycles are allocated."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
