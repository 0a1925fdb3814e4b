"""Package databases read in a process of their own, while this one scans the tree.

A scan and a database keep one processor each busy for about the same time, and need nothing of each other.
"""

from __future__ import annotations

import marshal
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rechunk_podman.components import dpkg, dpkg_load
from rechunk_podman.rootfs.root import Root

LOADERS = ((dpkg.name, dpkg_load.load),)
"""Source -> what reads its database: from a Root, into plain values."""


class Ahead:
    """What is being read; take() gives it."""

    __slots__ = ("_pipe", "_process")

    def __init__(self, process: int, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    def take(self) -> Mapping[str, Any]:
        """Waits for what was read: source -> its database. Empty where the process failed.

        Whoever needs a database that is not there reads it again, and meets the error itself.
        """
        with os.fdopen(os.dup(self._pipe), "rb") as stream:
            data = stream.read()
        process, self._process = self._process, 0
        if not process or os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0:
            return {}
        # Of our own child, over a pipe that nobody else has.
        found: dict[str, Any] = marshal.loads(data)  # noqa: S302
        return found

    def close(self) -> None:
        """Ends the process, where take() did not."""
        os.close(self._pipe)
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            self._process = 0


@contextmanager
def read_ahead(root: Root, *, enabled: bool = True) -> Iterator[Ahead | None]:
    """Starts to read the databases of `root`; None where it is not enabled, or threads forbid a fork."""
    if not enabled or threading.active_count() > 1:
        yield None
        return
    source, sink = os.pipe()
    process = os.fork()
    if process == 0:
        # Ours alone is then the end that writes: a parent that is gone is a broken pipe.
        os.close(source)
        _read(root, sink)
    os.close(sink)
    ahead = Ahead(process, source)
    try:
        yield ahead
    finally:
        ahead.close()


def _read(root: Root, sink: int) -> None:
    """The child: never returns, and never runs what its parent has set up for its own end."""
    status = 1
    try:
        found = {name: _plain(load(root)) for name, load in LOADERS}
        data = marshal.dumps({name: values for name, values in found.items() if values is not None})
        with os.fdopen(sink, "wb") as stream:
            stream.write(data)
        status = 0
    finally:
        os._exit(status)


def _plain(value: Any) -> Any:
    """Named tuples, however deep, as tuples: marshal knows no others."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return [_plain(item) for item in value]
    return value
