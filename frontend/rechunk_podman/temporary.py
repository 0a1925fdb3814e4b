"""Temporary directories and files whose lock tells the living from the dead.

The process that makes one holds a lock of it (flock(2)), and so do children that inherit the descriptor. The
lock ends with its last holder, however that ends. So another run can remove what a killed one left, and
touches nothing that is in use. Where the file system has no locks everything counts as in use.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PREFIX = "rechunk-podman."
"""The prefix of the names of temporary directories."""

_NAME = re.compile(re.escape(PREFIX) + r"\w{8}")


class Held(NamedTuple):
    """A directory of this process. lock: a descriptor; a child that inherits it keeps the directory, too."""

    path: str
    lock: int


@contextmanager
def private_directory(parent: str | None = None, *, prefix: str = PREFIX) -> Iterator[Held]:
    """Make a private directory (0700), and remove it with all it holds in every case.

    Args:
        parent: None for that of the module tempfile.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = os.path.realpath(tempfile.mkdtemp(prefix=prefix, dir=parent))
        fd = hold(path)
        if fd is not None:
            break
    try:
        yield Held(path, fd)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def hold(path: str | os.PathLike[str]) -> int | None:
    """Lock a new directory or file; return the descriptor that holds the lock.

    Return None if another run has removed it in the moment since it was made: then make another.

    Raises:
        OSError: it cannot be opened.
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
    """Yield what dead processes of this user left in a directory; remove each when the next is asked for.

    Args:
        pattern: of the names.
        keep: returns True for a path that is neither yielded nor removed.
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
    """Remove a directory with all it holds, or a file, as far as this user may."""
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            Path(path).unlink()


def wait_for_holder(folder: str) -> None:
    """Return when nobody holds the lock of a directory any more.

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
    """Lock what nobody holds; return the descriptor, or None if it is in use or of another user."""
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
    """Return True if a path still names the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
