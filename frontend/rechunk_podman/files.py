"""Atomic writing of files: to a temporary file, then renamed, so that each appears whole or not at all.

* A symlink is followed, and the file that it names is replaced.
* A new file has the mode 0666 (0777 if it is executable) minus the umask, whatever mode the old file had.
* A pipe, a FIFO or a character device (/dev/stderr) is written directly; a block device or a socket, never.
* With `durable` the bytes are on the disk before the rename: a crash leaves the old or the new file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.signals import signals_deferred
from rechunk_podman.temporary import dead

_CHUNK = 1 << 20
_NEW = os.O_RDWR | os.O_CLOEXEC


def cache_folder() -> Path | None:
    """Return our folder below XDG_CACHE_HOME, else ~/.cache; None if there is no home directory."""
    folder = os.environ.get("XDG_CACHE_HOME")
    if not (folder and Path(folder).is_absolute()):
        try:
            folder = str(Path.home() / ".cache")
        except RuntimeError:
            return None
    return Path(folder) / "rechunk-podman"


def write_file(
    path: str | os.PathLike[str], data: bytes, *, executable: bool = False, durable: bool = False
) -> None:
    """Write a small file.

    Raises:
        RechunkError: the file cannot be written. UsageError: the path is a directory.
    """
    if is_stream(path):
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise output_error(os.fspath(path), error) from error
        return
    with OutputFile(os.fspath(path), mode=0o777 if executable else 0o666) as file:
        file.write(data, 0)
        file.commit(len(data), durable=durable)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return True if the path is a pipe, a FIFO or a character device."""
    return _kind(path) in (stat.S_IFIFO, stat.S_IFCHR)


def _kind(path: str | os.PathLike[str]) -> int:
    """Return the file type (inode(7)) of what the path leads to; 0 if that is nothing."""
    try:
        return stat.S_IFMT(Path(path).stat().st_mode)
    except OSError:
        return 0


def refuse_device(path: str | os.PathLike[str], option: str | None = None) -> None:
    """Raise UsageError, before anything is opened, if a path is a block device or a socket.

    Args:
        option: the option with the path, for the message.
    """
    what = {stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}.get(_kind(path))
    if what is not None:
        shown = os.fspath(path) if option is None else f"{option} {os.fspath(path)}"
        raise UsageError(f"{shown} is {what}: it is not written over", hint="name a file")


def require_distinct(outputs: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Raise UsageError if two outputs are the same file, or one is to lie in the layout that another is.

    Args:
        outputs: option -> path, or None. A stream may take several outputs.
    """
    known: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None or is_stream(path):
            continue
        real = os.path.realpath(path)
        for other, place in known.items():
            if real == place or real.startswith(f"{place}/") or place.startswith(f"{real}/"):
                raise UsageError(
                    f"{other} and {option} name the same place: {os.fspath(path)}",
                    hint="one would overwrite the other: name another file",
                )
        known[option] = real


def require_writable(path: str | os.PathLike[str], option: str) -> None:
    """Check before the long work that a file can be written at `path`.

    Args:
        option: the option with the path, for the message.

    Raises:
        UsageError: the path is a directory, a block device or a socket, its directory is missing, or this
            user may not write there.
    """
    refuse_device(path, option)
    folder = Path(path).absolute().parent
    if Path(path).is_dir():
        reason = "it is a directory"
    elif not folder.is_dir():
        reason = f"there is no directory {folder}"
    elif not os.access(path if is_stream(path) else folder, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise UsageError(
        f"{option} {os.fspath(path)}: {reason}", hint="name a file in a directory that you can write to"
    )


def partial_path(path: Path) -> Path:
    """Return a new name in the directory of `path`, for a file that is renamed to `path` in the end."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def partial_pattern(path: Path) -> re.Pattern[str]:
    """Return the pattern of the names that partial_path() returns."""
    return re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")


def remove_partial(path: Path) -> None:
    """Remove the partial files for `path` that killed runs left."""
    for _ in dead(str(path.parent), partial_pattern(path)):
        pass


def spool_directory() -> str:
    """Return the directory for large temporary files: TMPDIR, else /var/tmp; /tmp is often in memory."""
    chosen = os.environ.get("TMPDIR")
    if chosen:
        return chosen
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108


class OutputFile:
    """A file that appears whole or not at all; a context manager that discards it without commit().

    The file has no name, or a temporary one beside `path`, until commit(). A plain file as standard output is
    written in place, and truncated again on failure; any other stream gets a copy of a temporary file at the
    end.

    Args:
        path: None is standard output.
        mode: of a new file, before the umask.

    Attributes:
        fd: the descriptor to pwrite(2) to, from `base` on.
        name: the name of the output in messages.
        directory: a directory for other temporary files.

    Raises:
        RechunkError, UsageError: the output cannot be written.
    """

    def __init__(self, path: str | None, stdout: int = 1, *, mode: int = 0o666) -> None:
        self.base = 0
        self._path: Path | None = None
        self._aside: Path | None = None
        self._stream: int | None = None
        self._done = False
        if path is None:
            self.name = "standard output"
            self._open_stream(os.dup(stdout))
            return
        self.name = path
        target = Path(os.path.realpath(path))
        self.directory = str(target.parent)
        try:
            refuse_device(path)
            # open the given path: a resolved pipe of /proc/self/fd names no file
            kind = stat.S_IFMT(Path(path).stat().st_mode)
        except FileNotFoundError:
            kind = stat.S_IFREG
        except OSError as error:
            raise output_error(path, error) from error
        if kind == stat.S_IFDIR:
            raise UsageError(f"{path} is a directory", hint="name a file, or oci:PATH for an OCI layout")
        try:
            if kind != stat.S_IFREG:
                self._open_stream(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY))
                return
            remove_partial(target)
            with ExitStack() as stack:
                with signals_deferred():
                    self.fd, self._aside = _open_nameless(target, mode)
                    self._path = target
                    stack.callback(self._discard)
                stack.pop_all()
        except OSError as error:
            raise output_error(path, error) from error

    def _open_stream(self, stream: int) -> None:
        if os.isatty(stream):
            os.close(stream)
            raise UsageError(f"{self.name} is a terminal", hint="redirect it, or give --output PATH")
        self.directory = spool_directory()
        appends = fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_APPEND
        if stat.S_ISREG(os.fstat(stream).st_mode) and not appends:
            self.fd = stream
            self.base = os.lseek(stream, 0, os.SEEK_CUR)
            os.ftruncate(stream, self.base)
            return
        self._stream = stream
        self._shown, self.name = self.name, f"{self.name}, by way of {self.directory}"
        try:
            with signals_deferred():
                self.fd, path = tempfile.mkstemp(prefix="rechunk-podman-", dir=self.directory)
                Path(path).unlink()
        except OSError as error:
            os.close(stream)
            raise output_error(self.directory, error) from error

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._done:
            self._discard()

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset` (counted from `base`)."""
        write_at(self.fd, data, self.base + offset, self.name)

    def commit(self, size: int, *, durable: bool = False) -> None:
        """Give the complete file of `size` bytes its name, or copy it to the stream."""
        try:
            if self._stream is not None:
                self.name = self._shown
                copy_to(self._stream, self.fd, size)
                os.close(self._stream)
            elif self._path is None:
                os.lseek(self.fd, self.base + size, os.SEEK_SET)
            elif durable:
                os.fsync(self.fd)
            if self._path is not None and self._aside is None:
                self._aside = partial_path(self._path)
                _give_name(self.fd, self._aside)
            held = os.dup(self.fd)  # keeps the lock until the file has its name
            try:
                fd, self.fd = self.fd, -1
                os.close(fd)  # some file systems report a full disk only here
                if self._aside is not None and self._path is not None:
                    self._aside.rename(self._path)
            finally:
                os.close(held)
        except BrokenPipeError as error:
            raise RechunkError(f"{self.name} was closed before the image was complete") from error
        except OSError as error:
            raise output_error(self.name, error) from error
        self._done = True

    def _discard(self) -> None:
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)
        elif self._stream is not None:
            os.close(self._stream)
        elif self._path is None and self.fd >= 0:
            os.ftruncate(self.fd, self.base)
        if self.fd >= 0:
            os.close(self.fd)


def _open_nameless(path: Path, mode: int) -> tuple[int, Path | None]:
    """Open a temporary file for `path`; return its descriptor, and its name or None (OSError).

    It has no name if the file system supports that: it vanishes with this process (open(2), O_TMPFILE).
    """
    aside = partial_path(path)
    try:
        probe = os.open(path.parent, _NEW | os.O_TMPFILE, 0o600)
        try:
            # a nameless file can be linked only once, so another file has to show that linking is allowed
            _give_name(probe, aside)
            aside.unlink()
        finally:
            os.close(probe)
        return _locked(os.open(path.parent, _NEW | os.O_TMPFILE, mode)), None
    except OSError:
        return _locked(os.open(aside, _NEW | os.O_CREAT | os.O_EXCL, mode)), aside


def _locked(fd: int) -> int:
    """Lock an open file, so that no other run removes it as left by a killed run."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _give_name(fd: int, path: Path) -> None:
    """Link an open file without a name to `path`."""
    # with src_dir_fd, os.link() calls linkat(2), which can follow the symlink in /proc
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def copy_to(stream: int, source: int, size: int) -> None:
    """Copy the first `size` bytes of the file `source` to a stream, at its position (OSError)."""
    offset = 0
    while offset < size:
        data = os.pread(source, min(_CHUNK, size - offset), offset)
        if not data:
            raise RechunkError("a temporary file was cut short")
        offset += len(data)
        while data:
            data = data[os.write(stream, data) :]


def write_at(fd: int, data: bytes | memoryview, offset: int, path: str) -> None:
    """Write all of `data` by pwrite(2); `path` names the file in errors (RechunkError)."""
    try:
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: str, cause: OSError) -> RechunkError:
    """Return the RechunkError for an OSError while a file was written; raise it from `cause`."""
    hint = None
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or write to another file system"
    elif cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        hint = "name a directory that exists and that you can write to"
    elif cause.errno == errno.EFBIG:
        hint = "raise the limit of file sizes (ulimit -f), or use another file system"
    return RechunkError(f"cannot write {path}: {cause.strerror}", hint=hint)
