"""A root filesystem as a directory handle: no read below it ever leaves it.

Every path is opened component by component with O_NOFOLLOW relative to the handle of its parent
(openat(2)), so neither a symlink in the root filesystem nor one that appears while it is read can
lead outside. Mount points below the root are entered like any other directory.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from types import TracebackType

from rechunk_podman.errors import RootfsError

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a file that became a FIFO since the scan must not block us; regular files ignore it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NO_NAMES = frozenset(("", ".", ".."))
_MAX_LINKS = 40  # as path_resolution(7): more symlinks than this are a loop

DEFAULT_LIMIT = 64 << 20


class Root:
    """The handle of a root filesystem; a context manager. Not for use by several threads.

    Paths are relative to the root, without a leading slash, the root itself being "" (model.py).

    Args:
        path: the directory; kept in `path`, for messages.

    Raises:
        RootfsError: it is missing, no directory, or may not be entered.
    """

    __slots__ = ("_dir_fd", "_dir_path", "_fds", "_names", "fd", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
            raise RootfsError(
                f"file names would be read as {sys.getfilesystemencoding()}, not as UTF-8",
                hint="set PYTHONUTF8=1 in the environment",
            )
        try:
            self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RootfsError(
                f"cannot open the root filesystem {self.path}: {error.strerror}",
                hint="name the directory that holds the root filesystem",
            ) from error
        self._names: list[str] = []
        self._fds: list[int] = []
        self._dir_path = ""
        self._dir_fd = self.fd

    def again(self) -> Root:
        """A Root of its own of the same directory, for another thread.

        Raises:
            RootfsError: it cannot be opened.
        """
        other = object.__new__(Root)
        other.path = self.path
        try:
            other.fd = os.dup(self.fd)
        except OSError as error:
            raise self.error("", error) from error
        other._names, other._fds = [], []
        other._dir_path, other._dir_fd = "", other.fd
        return other

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every handle; the Root cannot be used after it. Doing it twice is harmless."""
        self._shorten(0)
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = self._dir_fd = -1

    def directory(self, path: str) -> int:
        """The handle (O_PATH) of the directory at exactly this path; the Root's, not to be closed.

        It is good until the next call of any method.

        Raises:
            RootfsError: a component is missing, no directory, or a symlink.
        """
        if path == self._dir_path:
            return self._dir_fd
        names = path.split("/") if path else []
        depth = 0
        for known, wanted in zip(self._names, names, strict=False):
            if known != wanted:
                break
            depth += 1
        self._shorten(depth)
        fd = self._fds[-1] if depth else self.fd
        for name in names[depth:]:
            if name in _NO_NAMES:
                raise RootfsError(f"not a path within the root filesystem: {path!r}")
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise self.error(path, error) from error
            self._names.append(name)
            self._fds.append(fd)
        self._dir_path, self._dir_fd = path, fd
        return fd

    def _shorten(self, depth: int) -> None:
        for fd in self._fds[depth:]:
            os.close(fd)
        del self._fds[depth:]
        del self._names[depth:]
        self._dir_path = "/".join(self._names)
        self._dir_fd = self._fds[-1] if self._fds else self.fd

    def open(self, path: str) -> int:
        """A read-only descriptor of the regular file at exactly this path; the caller closes it.

        Raises:
            RootfsError: it is missing, a symlink leads to it, it is no regular file, or is unreadable.
        """
        return self.open_stat(path)[0]

    def open_stat(self, path: str) -> tuple[int, os.stat_result]:
        """As open(), with what fstat(2) says of the descriptor."""
        head, _, name = path.rpartition("/")
        parent = self._dir_fd if head == self._dir_path else self.directory(head)
        if name in _NO_NAMES:
            raise RootfsError(f"not a file of the root filesystem: {path!r}")
        try:
            fd = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            raise self.error(path, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise RootfsError(f"{self.show(path)} is not a regular file")
        return fd, status

    def read(self, path: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """The content of the regular file at exactly this path.

        Raises:
            RootfsError: as open(); or the file holds more than `limit` bytes.
        """
        fd = self.open(path)
        with os.fdopen(fd, "rb", buffering=0) as file:
            try:
                size = os.fstat(fd).st_size
                chunks: list[bytes] = []
                total = 0
                while total <= limit:
                    chunk = file.read(min(max(size - total, 0) + 1, limit + 1 - total))
                    if not chunk:
                        return b"".join(chunks)
                    chunks.append(chunk)
                    total += len(chunk)
            except OSError as error:
                raise self.error(path, error) from error
        raise RootfsError(f"{self.show(path)} holds more than {limit} bytes")

    def names(self, path: str) -> list[str]:
        """The names in the directory at exactly this path, in byte order; none where there is no directory.

        Raises:
            RootfsError: it cannot be read.
        """
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.directory(path))
        except RootfsError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return []
            raise
        except OSError as error:
            raise self.error(path, error) from error
        try:
            return sorted(os.listdir(fd), key=os.fsencode)
        except OSError as error:
            raise self.error(path, error) from error
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        """lstat(2) of exactly this path ("" is the root itself).

        Raises:
            RootfsError: it is missing, or a symlink leads to it.
        """
        head, _, name = path.rpartition("/")
        if not name:
            return os.fstat(self.directory(path))
        try:
            return os.stat(name, dir_fd=self.directory(head), follow_symlinks=False)
        except OSError as error:
            raise self.error(path, error) from error

    def readlink(self, path: str) -> str:
        """The target of the symlink at exactly this path, unresolved.

        Raises:
            RootfsError: there is none.
        """
        head, _, name = path.rpartition("/")
        try:
            return os.readlink(name, dir_fd=self.directory(head))
        except OSError as error:
            raise self.error(path, error) from error

    def resolve(self, path: str) -> str:
        """The canonical path, symlinks followed inside the root as after chroot(2).

        Absolute targets start at the root, `..` stops there. A path may begin with a slash. What
        follows a component that does not exist is kept as it is written.

        Raises:
            RootfsError: the symlinks form a loop, or a directory may not be entered.
        """
        plain = self._plain(path)
        if plain is not None:
            return plain
        pending = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del done[-1:]
                continue
            here = "/".join([*done, name])
            try:
                target = os.readlink(name, dir_fd=self.directory("/".join(done)))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                    raise self.error(here, error) from error
                done.append(name)
                continue
            except RootfsError as error:
                cause = error.__cause__
                if not (isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOTDIR)):
                    raise
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise RootfsError(f"the symlinks at {self.show(path)} form a loop")
            if target.startswith("/"):
                done.clear()
            pending.extend(target.split("/")[::-1])
        return "/".join(done)

    def _plain(self, path: str) -> str | None:
        """The path, where it is canonical as it is written; None where it has to be looked at closely."""
        head, _, name = path.strip("/").rpartition("/")
        try:
            os.readlink(name, dir_fd=self.directory(head))
        except OSError as error:
            if error.errno == errno.EINVAL and name not in _NO_NAMES:
                return f"{head}/{name}" if head else name
        except RootfsError:
            pass
        return None

    def place(self, path: str) -> str:
        """As resolve(), for where something may be: a path that symlinks lead nowhere stays as it is."""
        try:
            return self.resolve(path)
        except RootfsError:
            return path.strip("/")

    def show(self, path: str) -> str:
        """The path as messages name it: absolute within the root, unprintable bytes escaped."""
        text = "/" + path
        return text if text.isprintable() else repr(os.fsencode(text))[2:-1]

    def unread(self, error: OSError | LookupError) -> RootfsError:
        """The RootfsError that an error of _contents.pyi or _stream.pyi becomes; to be raised from it."""
        if isinstance(error, OSError):
            return self.error(error.filename, error)
        what, path = error.args
        if what == "irregular":
            return RootfsError(f"{self.show(path)} is not a regular file")
        return self.changed(path)

    def changed(self, path: str) -> RootfsError:
        """The RootfsError of a file that is not, or no longer, what was scanned."""
        return RootfsError(
            f"{self.show(path)} changed while it was read",
            context=[f"in the root filesystem {self.path}"],
            hint="nothing may change the root filesystem while it is read: run the command again",
        )

    def error(self, path: str, cause: OSError) -> RootfsError:
        """The RootfsError that an OSError at `path` becomes; to be raised from it."""
        hint = None
        if cause.errno in (errno.EACCES, errno.EPERM):
            hint = "run as root, or within `buildah unshare`"
        elif cause.errno in (errno.ENOENT, errno.ESTALE):
            hint = "nothing may change the root filesystem while it is read"
        elif cause.errno == errno.EMFILE:
            hint = "raise the limit of open files (ulimit -n)"
        return RootfsError(
            f"cannot read {self.show(path)}: {cause.strerror}",
            context=[f"in the root filesystem {self.path}"],
            hint=hint,
        )
