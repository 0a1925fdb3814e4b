"""Independent pieces of work in forked processes, which share what the parent has read.

Processes, because the per-file work of writing layers holds the interpreter's lock; forked, because a
Tree of hundreds of thousands of entries is there at once and, mostly, only once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import selectors
import signal
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from rechunk_podman import errors
from rechunk_podman.errors import RechunkError

log = logging.getLogger("rechunk_podman")

_TASK = struct.Struct("=i")
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent is gone."""


def run(
    tasks: Sequence[int], work: Callable[[int], Sequence[Any]], count: int
) -> Iterator[tuple[int, list[Any]]]:
    """Yields (task, what work(task) gave) as they are done; at most `count` at a time.

    Tasks start in the order given. What `work` gives travels as JSON. With a count of 1, or while other
    threads run (a fork would copy the locks that they hold), it runs in this process.

    Raises:
        RechunkError: the first that a task raised (other tasks are ended), or a process died.
    """
    count = min(count, len(tasks))
    if count > 1 and threading.active_count() > 1:
        log.warning("other threads run in this process: writing layers one at a time")
        count = 1
    if count <= 1:
        for task in tasks:
            yield task, list(work(task))
        return
    pool = _Pool()
    try:
        pool.start(tasks, work, count)
        yield from pool.results()
    finally:
        pool.end()


class _Pool:
    def __init__(self) -> None:
        self.pids: dict[int, int] = {}  # read end of a result pipe -> process
        self.left = 0

    def start(self, tasks: Sequence[int], work: Callable[[int], Sequence[Any]], count: int) -> None:
        self.left = len(tasks)
        queue, feed = os.pipe()
        # An interrupt in the middle of a fork would be lost, or be the child's.
        mask: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            # Four bytes at a time are read and written as one, so that the pipe is the queue.
            os.set_blocking(feed, False)
            if os.write(feed, b"".join(map(_TASK.pack, tasks))) != _TASK.size * len(tasks):
                raise RechunkError(f"too many layers: {len(tasks)}")
            os.close(feed)
            feed = -1
            # A collection would write to every object, and so copy every page.
            gc.freeze()
            for _ in range(count):
                self._fork(queue, work, mask)
        except OSError as error:
            raise RechunkError(
                f"cannot start a process: {error.strerror}", hint="try fewer --threads"
            ) from error
        finally:
            gc.unfreeze()
            os.close(queue)
            if feed >= 0:
                os.close(feed)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _fork(self, queue: int, work: Callable[[int], Sequence[Any]], mask: set[int]) -> None:
        results, out = os.pipe()
        parent = os.getpid()
        with warnings.catch_warnings():
            # A library's idle native threads (numpy's) are no danger: no child calls them.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            _child(queue, out, work, parent, mask)
        os.close(out)
        self.pids[results] = pid

    def results(self) -> Iterator[tuple[int, list[Any]]]:
        pending = dict.fromkeys(self.pids, b"")
        with selectors.DefaultSelector() as selector:
            for fd in pending:
                selector.register(fd, selectors.EVENT_READ)
            while self.left:
                for key, _ in selector.select():
                    fd = key.fd
                    data = os.read(fd, 65536)
                    if not data:
                        selector.unregister(fd)
                        self._gone(fd)
                        continue
                    *lines, pending[fd] = (pending[fd] + data).split(b"\n")
                    for line in lines:
                        task, result, error = json.loads(line)
                        if error:
                            raise _revive(error)
                        self.left -= 1
                        yield task, result

    def _gone(self, fd: int) -> None:
        pid = self.pids.pop(fd)
        os.close(fd)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            raise RechunkError(
                f"a process that wrote layers was killed ({name})",
                hint="if memory ran out: fewer --threads" if name == "SIGKILL" else None,
            )
        if status or not (self.pids or not self.left):
            raise RechunkError("a process that wrote layers ended early")

    def end(self) -> None:
        """Ends and reaps whatever still runs."""
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        for fd, pid in self.pids.items():
            os.close(fd)
            os.waitpid(pid, 0)
        self.pids.clear()


def _child(
    queue: int, out: int, work: Callable[[int], Sequence[Any]], parent: int, mask: set[int]
) -> NoReturn:
    """Everything that a forked process does; it never returns into its parent's code."""
    gc.disable()
    task = -1
    try:
        # The parent has to decide what an interrupt means; it ends its children itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # A parent that was killed could not end us: nobody waits for this layer any more.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while os.getppid() == parent:
            data = os.read(queue, _TASK.size)
            if not data:
                break
            (task,) = _TASK.unpack(data)
            _send(out, task, list(work(task)), None)
    finally:
        failure = sys.exc_info()[1]
        try:
            if failure is not None:
                _send(out, task, None, _flatten(failure))
        finally:
            os._exit(0 if failure is None else 1)


def _send(out: int, task: int, result: list[Any] | None, error: dict[str, Any] | None) -> None:
    data = json.dumps([task, result, error]).encode() + b"\n"
    while data:
        data = data[os.write(out, data) :]


def _flatten(failure: BaseException) -> dict[str, Any]:
    if isinstance(failure, RechunkError):
        return {
            "type": type(failure).__name__,
            "message": failure.message,
            "context": failure.context,
            "hint": failure.hint,
            "exit_code": failure.exit_code,
        }
    return {"bug": "".join(traceback.format_exception(failure))}


def _revive(error: dict[str, Any]) -> Exception:
    if "bug" in error:
        return RuntimeError("in a process that writes layers:\n" + error["bug"])
    kind = getattr(errors, error["type"], RechunkError)
    revived: RechunkError = kind(
        error["message"], context=error["context"], hint=error["hint"], exit_code=error["exit_code"]
    )
    return revived
