"""Temporary directories and files with a lock, which shows if a process still uses them.

The process that makes one holds a lock on it (flock(2)), and so do children that inherit the descriptor. The
kernel releases the lock when the last holder ends, in any way. So another run can remove files that a killed
run left, and does not touch files in use. On a file system without locks, all files count as in use.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.patterns import compile_later
from rechunk_podman.signals import signals_deferred

PREFIX = "rechunk-podman.tmp-"
"""The prefix of the names of temporary directories. No other file has one, followed by 8 hex digits."""

_NAME = compile_later(re.escape(PREFIX) + "[0-9a-f]{8}")


class Held(NamedTuple):
    """A directory of this process. lock: a descriptor; a child that inherits it keeps the directory, too."""

    path: str
    lock: int


@contextmanager
def private_directory(parent: str | None = None, *, prefix: str = PREFIX) -> Iterator[Held]:
    """Make a private directory (mode 0700); at the end, also after an error, remove it and its content.

    Args:
        parent: the directory above it; None: that of the module tempfile.

    Raises:
        OSError: the directory cannot be made.
    """
    folder = os.path.realpath(parent or tempfile.gettempdir())
    with ExitStack() as stack:
        with signals_deferred():
            held = _new(folder, prefix)
            stack.callback(_release, held)
        yield held


def _release(held: Held) -> None:
    """Remove a directory of this process as a whole: a signal waits."""
    with signals_deferred():
        shutil.rmtree(held.path, ignore_errors=True)
        os.close(held.lock)
        _own.pop(held.path, None)


_own: dict[str, int] = {}
"""Path of each directory of private_directory() that is there -> the process that made it."""


def remove_own() -> None:
    """Remove the directories of this process whose removal a signal prevented, before it began."""
    for path in [path for path, process in _own.items() if process == os.getpid()]:
        shutil.rmtree(path, ignore_errors=True)
        _own.pop(path, None)


atexit.register(remove_own)


def _new(folder: str, prefix: str) -> Held:
    while True:
        path = os.path.join(folder, prefix + secrets.token_hex(4))
        try:
            Path(path).mkdir(0o700)
        except FileExistsError:
            continue
        fd = hold(path)
        if fd is not None:
            _own[path] = os.getpid()
            return Held(path, fd)


def hold(path: str | os.PathLike[str]) -> int | None:
    """Lock a new directory or file; return the descriptor that holds the lock.

    Return None if another run has removed it before it was locked; the caller must then make another one.

    Raises:
        OSError: the directory or file cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(fd, fcntl.LOCK_EX)
    if _names(path, fd):
        return fd
    os.close(fd)
    return None


def dead(
    folder: str, pattern: re.Pattern[str] = _NAME, *, keep: Callable[[str], bool] = lambda path: False
) -> Iterator[str]:
    """Yield each path that dead processes of this user left in a directory, then remove it.

    Args:
        pattern: a regular expression for the names.
        keep: a predicate; a path for which it is True is neither yielded nor removed.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        fd = _take(path)
        if fd is None:
            continue
        try:
            if not keep(path):
                yield path
                remove(path)
        finally:
            os.close(fd)


def remove(path: str) -> None:
    """Remove a file, or a directory and its content, as far as this user has the permission."""
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            Path(path).unlink()


def wait_for_holder(folder: str) -> None:
    """Wait until no process holds the lock of a directory.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _take(path: str) -> int | None:
    """Lock a path without waiting; return the descriptor, or None if it is in use or another user's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, fd):
                return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _names(path: str | os.PathLike[str], fd: int) -> bool:
    """Return True if the path still leads to the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
