"""Processes that work on a root filesystem for this one, forked while it is still small.

Processes, because the work per file holds the interpreter's lock. Early, because memory stays shared after a
fork only until somebody looks at it (a look at a Python object writes its reference count): they know nothing
of the Tree that is scanned later, and get by message what they need.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import pickle
import selectors
import signal
import socket
import struct
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from rechunk_podman import errors
from rechunk_podman.errors import RechunkError
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

_HEAD = struct.Struct("=Q")
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent is gone."""


class _Worker(NamedTuple):
    pid: int
    channel: socket.socket


class Crew:
    """Some processes, each busy with at most one piece of work; a context manager, which ends them.

    Work is a function of a module, called as function(root, *arguments); arguments and result are pickled.
    Where there are no processes (a count of 1, or other threads run in this one: a fork would copy the locks
    that they hold), submit() and map() do the work right here.

    Args:
        root: what they work on.
        count: how many there are to be.

    Raises:
        RechunkError: no process can be started.
    """

    def __init__(self, root: Root, count: int) -> None:
        self.root = root
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, tuple[str, Any]] = {}
        self._done: dict[str, deque[tuple[Any, Any]]] = {}
        if count > 1 and threading.active_count() > 1:
            log.warning("other threads run in this process: the work is done in this one alone")
            count = 1
        if count <= 1:
            return
        # An interrupt in the middle of a fork would be lost, or be the child's.
        mask: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for _ in range(count):
                self._fork(mask)
        except OSError as error:
            self.close()
            raise RechunkError(
                f"cannot start a process: {error.strerror}", hint="try fewer --threads"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _fork(self, mask: set[int]) -> None:
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # A library's idle native threads (numpy's) are no danger: no child calls them.
            warnings.simplefilter("ignore", DeprecationWarning)
            parent = os.getpid()
            pid = os.fork()
        if not pid:
            # Whoever holds the parent's end of another's channel would keep that one from seeing its end.
            for worker in self._idle:
                worker.channel.close()
            ours.close()
            _serve(self.root, theirs, mask, parent)
        theirs.close()
        self._idle.append(_Worker(pid, ours))

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends and reaps them, whatever they are doing. Doing it twice is harmless."""
        workers = [*self._idle, *self._busy]
        self._idle, self._busy = [], {}
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        for worker in workers:
            worker.channel.close()
            os.waitpid(worker.pid, 0)

    @property
    def size(self) -> int:
        """How many processes there are; 0 where the work is done right here."""
        return len(self._idle) + len(self._busy)

    @property
    def free(self) -> bool:
        """Whether one has nothing to do."""
        return bool(self._idle) or not self._busy

    def submit(
        self, kind: str, label: Any, function: Callable[..., Any], *arguments: Any, lend: int | None = None
    ) -> None:
        """Gives work to a process that is free (there must be one); wait(kind) tells what came of it.

        Args:
            label: what wait() is to call it.
            lend: a descriptor that the function gets as its last argument, closed after the call.

        Raises:
            RechunkError: the process died; without processes, what the function raises.
        """
        if not self.size:
            given = arguments if lend is None else (*arguments, os.dup(lend))
            try:
                value = function(self.root, *given)
            finally:
                if lend is not None:
                    os.close(given[-1])
            self._done.setdefault(kind, deque()).append((label, value))
            return
        worker = self._idle.pop()
        self._busy[worker] = (kind, label)
        data = pickle.dumps((function, arguments), 5)
        try:
            socket.send_fds(worker.channel, [_HEAD.pack(len(data))], [] if lend is None else [lend])
            worker.channel.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._lost(worker)

    def wait(self, kind: str) -> tuple[Any, Any]:
        """(label, result) of the next work of this kind that is done, of those that were submitted.

        Raises:
            RechunkError: what a function raised, be it of this kind or another; a process died.
        """
        while not self._done.get(kind):
            self._receive(block=True)
        return self._done[kind].popleft()

    def map(
        self, function: Callable[..., Any], items: Iterable[tuple[Any, ...]], *, lend: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yields (place in items, function(root, *item)) as they are done, in no particular order.

        Items are taken one at a time, the next one while all processes are busy with those before.

        Raises:
            RechunkError: as wait().
        """
        kind = f"map {id(items)}"
        source = enumerate(items)
        coming = next(source, None)
        running = 0
        while running or coming:
            if coming and self.free:
                place, item = coming
                self.submit(kind, place, function, *item, lend=lend)
                running += 1
                if self.size and not self._idle:
                    self._receive(block=False)
                coming = next(source, None)
            if running and (self._done.get(kind) or not (coming and self.free)):
                yield self.wait(kind)
                running -= 1

    def _receive(self, *, block: bool) -> None:
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                selector.register(worker.channel, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(None if block else 0)]
        for worker in ready:
            head = _exactly(worker.channel, _HEAD.size)
            data = _exactly(worker.channel, _HEAD.unpack(head)[0]) if head else b""
            if not data:
                self._lost(worker)
            value, error = pickle.loads(data)  # noqa: S301 (of our own child, which nobody else can reach)
            kind, label = self._busy.pop(worker)
            self._idle.append(worker)
            if error:
                raise _revive(error)
            self._done.setdefault(kind, deque()).append((label, value))

    def _lost(self, worker: _Worker) -> NoReturn:
        """A process is gone: reaps it.

        Raises:
            RechunkError: always.
        """
        self._busy.pop(worker, None)
        worker.channel.close()
        _, status = os.waitpid(worker.pid, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            raise RechunkError(
                f"a process that worked on the root filesystem was killed ({name})",
                hint="if memory ran out: fewer --threads" if name == "SIGKILL" else None,
            )
        raise RechunkError("a process that worked on the root filesystem ended early")


def _exactly(channel: socket.socket, size: int) -> bytes | bytearray:
    """So many bytes; none where the other end is closed."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        try:
            count = channel.recv_into(view)
        except ConnectionResetError:
            count = 0
        if not count:
            return b""
        view = view[count:]
    return data


def _serve(root: Root, channel: socket.socket, mask: set[int], parent: int) -> NoReturn:
    """Everything that a forked process does; it never returns into its parent's code."""
    gc.disable()
    status = 1
    try:
        # The parent has to decide what an interrupt means; it ends its children itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # A parent that was killed could not end us: nobody waits for this layer any more.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # It may have been killed before the line above.
        while os.getppid() == parent and _work(root, channel):
            pass
        status = 0
    finally:
        os._exit(status)


def _work(root: Root, channel: socket.socket) -> bool:
    """One piece of work; False where there will be no more."""
    head, lent, _, _ = socket.recv_fds(channel, _HEAD.size, 1)
    data = _exactly(channel, _HEAD.unpack(head)[0]) if len(head) == _HEAD.size else b""
    if not data:
        return False
    try:
        function, arguments = pickle.loads(data)  # noqa: S301 (of our own parent)
        result = pickle.dumps((function(root, *arguments, *lent), None), 5)
    except Exception as failure:  # noqa: BLE001 (the parent raises it again)
        result = pickle.dumps((None, _flatten(failure)), 5)
    finally:
        for descriptor in lent:
            os.close(descriptor)
    try:
        channel.sendall(_HEAD.pack(len(result)))
        channel.sendall(result)
    except BrokenPipeError:
        return False
    return True


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
        return RuntimeError("in a process that worked on the root filesystem:\n" + error["bug"])
    kind = getattr(errors, error["type"], RechunkError)
    revived: RechunkError = kind(
        error["message"], context=error["context"], hint=error["hint"], exit_code=error["exit_code"]
    )
    return revived
