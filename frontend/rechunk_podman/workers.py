"""Worker threads. They pay because reading, hashing and compressing release the interpreter's lock."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

MORE_BEGUN = 6
"""Items that Workers.in_order() begins beyond the number of threads, so that a long one stops no thread."""


class Workers:
    """A pool of threads; a context manager that ends them. A count of 1 means that the caller does the work.

    Args:
        count: the number of threads, at least 1.
    """

    __slots__ = ("_executor", "count", "ended")

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self.ended = threading.Event()
        """Set when no result is needed any more; long work checks it."""
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
        """Cancel the work that has not begun and wait for the rest. A second call does nothing."""
        self.ended.set()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Run function(*arguments), now or later; the Future holds its result or exception."""
        if self._executor is not None:
            return self._executor.submit(function, *arguments)
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 (Future.result() raises it)
            future.set_exception(error)
        return future

    def map(self, function: Callable[..., T], items: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, T]]:
        """Run function(*item) for every item; yield (index of the item, result) as they complete.

        Raises:
            As share().
        """

        def work(mine: Iterator[tuple[int, tuple[object, ...]]]) -> Iterator[tuple[int, T]]:
            for place, item in mine:
                yield place, function(*item)

        return self.share(work, enumerate(items))

    def share(self, function: Callable[[Iterator[S]], Iterator[T]], items: Iterable[S]) -> Iterator[T]:
        """Run function in every thread over the shared items; yield all that they yield, as it comes.

        Each thread takes the next item when it needs one; one thread at a time advances `items`.

        Raises:
            The exceptions of function and items. Then, and if the caller stops early, `ended` is set and the
            threads are joined.
        """
        shared = _Shared(items, self.ended)
        if self._executor is None:
            yield from function(shared)
            return
        # each yielded value in a tuple, and the Future of each thread that is done
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

    def in_order(
        self, function: Callable[[S], Iterator[T | None]], items: Sequence[S], ahead: int = 16
    ) -> Iterator[tuple[int, T]]:
        """Yield (index of the item, value) for all values of function(item), in the order of the items.

        Meanwhile the threads work on the items that follow. At most MORE_BEGUN items more than there are
        threads are begun and not used up. A function that yields None goes on when the caller has used all
        values before.

        Args:
            ahead: the most values of each item that wait for the caller.

        Raises:
            The exceptions of function. Then, and if the caller stops early, `ended` is set and the threads
            are joined.
        """
        if self._executor is None:
            for index, item in enumerate(items):
                yield from ((index, value) for value in function(item) if value is not None)
            return
        running: deque[tuple[_Lane[T], Future[None]]] = deque()
        following = iter(items)
        try:
            for index in range(len(items)):
                for item in islice(following, self.count + MORE_BEGUN - len(running)):
                    lane = _Lane[T](ahead, self.ended)
                    running.append((lane, self._executor.submit(lane.fill, function, item)))
                lane, future = running[0]
                for value in lane.values():
                    yield index, value
                future.result()
                running.popleft()
        finally:
            if running:
                self.ended.set()
                for lane, future in running:
                    future.cancel()
                    lane.wake()
                wait([future for _, future in running])


class _Lane(Generic[T]):
    """The values of one item on their way from the thread that makes them to the caller of in_order()."""

    __slots__ = ("_ahead", "_changed", "_ended", "_is_full", "_used", "_values")

    def __init__(self, ahead: int, ended: threading.Event) -> None:
        self._ahead, self._ended = ahead, ended
        self._changed = threading.Condition()
        self._values: deque[T] = deque()
        self._used = 0
        """The number of values that the caller has used."""
        self._is_full = False
        """True if no value follows those that are here."""

    def fill(self, function: Callable[[S], Iterator[T | None]], item: S) -> None:
        """Take all values of function(item); wait if too many of them are here."""
        made = 0
        values = function(item)
        try:
            for value in values:
                with self._changed:
                    if value is not None:
                        self._values.append(value)
                        made += 1
                        self._changed.notify_all()
                    most = 0 if value is None else self._ahead - 1
                    while made - self._used > most and not self._ended.is_set():
                        self._changed.wait()
                if self._ended.is_set():
                    return
        finally:
            with self._changed:
                self._is_full = True
                self._changed.notify_all()

    def values(self) -> Iterator[T]:
        """Yield the values."""
        while True:
            with self._changed:
                while not self._values and not self._is_full:
                    self._changed.wait()
                if not self._values:
                    return
                value = self._values.popleft()
            yield value
            with self._changed:
                self._used += 1
                self._changed.notify_all()

    def wake(self) -> None:
        """Let a thread that waits see that `ended` is set."""
        with self._changed:
            self._changed.notify_all()


class _Shared(Iterator[S]):
    """An iterator that threads share; it ends when `ended` is set or one of the threads has failed."""

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
