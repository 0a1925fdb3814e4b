"""A root filesystem as a directory handle: no read leaves it.

The confined walk (native/confined.h) opens every directory and follows no symlink; files are opened with
O_NOFOLLOW from their directories. So no symlink leads outside, even if it appears during the read. Mount
points below the root are entered like any other directory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Sequence
from types import TracebackType

from rechunk_podman.errors import RootfsError
from rechunk_podman.native import open_directory
from rechunk_podman.rootfs.paths import follow

# O_NONBLOCK: a file that became a FIFO since the scan must not block us; regular files ignore it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NO_NAMES = frozenset(("", ".", ".."))
_ABSENT = (errno.ENOENT, errno.ENOTDIR)

DEFAULT_LIMIT = 64 << 20
_CHUNK = 1 << 20


class Root:
    """The handle of a root filesystem; a context manager. One thread at a time may use it.

    Paths are relative to the root, without a leading slash; the root itself is "" (model.py).

    Args:
        path: the directory; kept in `path`, for messages.

    Raises:
        RootfsError: the directory is missing, not a directory, or may not be entered.
    """

    __slots__ = ("_dir_fd", "_dir_path", "_hidden", "fd", "path")

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
        self._hidden: tuple[str, ...] = ()
        # the most recently used directory
        self._dir_path = ""
        self._dir_fd = -1

    def duplicate(self, hidden: Sequence[str] = ()) -> Root:
        """Return another Root of the same directory, for another thread.

        Args:
            hidden: canonical paths that the new Root treats as missing, with everything below them.

        Raises:
            RootfsError: the directory cannot be opened.
        """
        other = object.__new__(Root)
        other.path = self.path
        other._hidden = (*self._hidden, *hidden)
        try:
            other.fd = os.dup(self.fd)
        except OSError as error:
            raise self.error("", error) from error
        other._dir_path, other._dir_fd = "", -1
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
        """Close every handle; the Root cannot be used any more. A second call does nothing."""
        for fd in (self._dir_fd, self.fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self._dir_fd = -1
        self._dir_path = ""

    def directory(self, path: str) -> int:
        """Return the handle (O_PATH) of the directory at exactly this path; the Root closes it.

        The handle is valid until the next call of any method.

        Raises:
            RootfsError: a component is missing, not a directory, or a symlink.
        """
        try:
            return self._directory(path)
        except OSError as error:
            raise self.error(path, error) from error

    def _directory(self, path: str) -> int:
        """Return the handle like directory(), but raise OSError if it cannot be opened."""
        self._check_path(path)
        if not path:
            return self.fd
        if path != self._dir_path:
            try:
                fd = open_directory(self.fd, path)
            except ValueError as error:
                raise RootfsError(f"not a path within the root filesystem: {path!r}") from error
            if self._dir_fd >= 0:
                os.close(self._dir_fd)
            self._dir_path, self._dir_fd = path, fd
        return self._dir_fd

    def _check_path(self, path: str) -> None:
        """Raise FileNotFoundError for a hidden path, and for a text that cannot be a path."""
        if not _can_exist(path) or (self._hidden and self._is_hidden(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _is_hidden(self, path: str) -> bool:
        return any(path == hidden or path.startswith(f"{hidden}/") for hidden in self._hidden)

    def open(self, path: str) -> int:
        """Return a read-only descriptor of the regular file at exactly this path; the caller closes it.

        Raises:
            RootfsError: the path is missing, contains a symlink, is not a regular file, or is unreadable.
        """
        head, _, name = path.rpartition("/")
        parent = self.directory(head)
        if name in _NO_NAMES:
            raise RootfsError(f"not a file of the root filesystem: {path!r}")
        try:
            self._check_path(path)
            # Even to open a device can have an effect.
            if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise self._irregular(path)
            fd = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            raise self.error(path, error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._irregular(path)
        return fd

    def read(self, path: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the content of the regular file at exactly this path.

        Raises:
            RootfsError: as open(); the file holds more than `limit` bytes.
        """
        fd = self.open(path)
        try:
            size = os.fstat(fd).st_size
            chunks: list[bytes] = []
            total = 0
            while total <= limit:
                wanted = min(max(size - total, 0) + 1, limit + 1 - total)
                chunk = os.read(fd, wanted)
                chunks.append(chunk)
                total += len(chunk)
                if not chunk or (len(chunk) < wanted and total >= size):
                    return b"".join(chunks)
        except OSError as error:
            raise self.error(path, error) from error
        finally:
            os.close(fd)
        raise RootfsError(f"{self.show(path)} holds more than {limit} bytes")

    def sha256(self, path: str) -> bytes:
        """Return the SHA-256 of the regular file at exactly this path.

        Raises:
            RootfsError: as open().
        """
        digest = hashlib.sha256()
        with os.fdopen(self.open(path), "rb", buffering=0) as file:
            try:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            except OSError as error:
                raise self.error(path, error) from error
        return digest.digest()

    def recorded_digest(self, path: str, algorithm: str) -> bytes | None:
        """Return the digest of the regular file at exactly this path if no read is needed for it, else None.

        Args:
            algorithm: its name in hashlib.
        """
        return None

    def names(self, path: str) -> list[str]:
        """Return the names in the directory at exactly this path, in byte order; none if it does not exist.

        Names that an overlay lists and does not find (scan()) are left out.

        Raises:
            RootfsError: the directory cannot be read.
        """
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory(path))
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise self.error(path, error) from error
        try:
            with os.scandir(fd) as entries:
                return sorted((entry.name for entry in entries if _is_found(entry)), key=os.fsencode)
        except OSError as error:
            raise self.error(path, error) from error
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        """Return lstat(2) of exactly this path ("" is the root itself).

        Raises:
            RootfsError: the path is missing, or one of its directories is a symlink.
        """
        head, _, name = path.rpartition("/")
        if not name:
            return os.fstat(self.directory(path))
        try:
            self._check_path(path)
            return os.stat(name, dir_fd=self.directory(head), follow_symlinks=False)
        except OSError as error:
            raise self.error(path, error) from error

    def readlink(self, path: str) -> str:
        """Return the target of the symlink at exactly this path, unresolved.

        Raises:
            RootfsError: the path is not a symlink.
        """
        try:
            return self._target(path)
        except OSError as error:
            raise self.error(path, error) from error

    def _target(self, path: str) -> str:
        """Return the target like readlink(), but raise OSError: EINVAL if the path is not a symlink."""
        self._check_path(path)
        head, _, name = path.rpartition("/")
        return os.readlink(name, dir_fd=self._directory(head))

    def resolve(self, path: str) -> str:
        """Return the canonical path, with symlinks followed inside the root as after chroot(2).

        Absolute targets start at the root, `..` stops there. A path may begin with a slash. Components after
        a missing one are kept as written.

        Raises:
            RootfsError: the symlinks form a loop, or a directory may not be entered.
        """
        plain = path.strip("/")
        if plain.rpartition("/")[2] not in _NO_NAMES:
            try:
                self._target(plain)
            except OSError as error:
                if error.errno == errno.EINVAL:  # the usual case: the path is canonical already
                    return plain
            except RootfsError:
                pass  # the path is not canonical
        try:
            return follow(path, self._target_if_any)
        except OSError as error:
            raise RootfsError(f"the symlinks at {self.show(path)} form a loop") from error

    def _target_if_any(self, path: str) -> str | None:
        try:
            return self._target(path)
        except OSError as error:
            if error.errno not in (errno.EINVAL, *_ABSENT):
                raise self.error(path, error) from error
            return None

    def resolve_or_keep(self, path: str) -> str:
        """Return resolve(path), or `path` itself if its symlinks lead nowhere."""
        try:
            return self.resolve(path)
        except RootfsError:
            return path.strip("/")

    def show(self, path: str) -> str:
        """Return the path for messages: absolute within the root, with unprintable bytes escaped."""
        text = "/" + path
        if text.isprintable():
            return text
        return repr(os.fsencode(text))[2:-1] if _can_exist(text) else ascii(text)[1:-1]

    def read_error(self, error: OSError | LookupError) -> RootfsError:
        """Return the RootfsError for an error of the module _native; raise it from `error`."""
        if isinstance(error, OSError):
            return self.error(error.filename, error)
        what, path = error.args
        if what == "irregular":
            return self._irregular(path)
        return self.changed_error(path)

    def _irregular(self, path: str) -> RootfsError:
        return RootfsError(f"{self.show(path)} is not a regular file")

    def changed_error(self, path: str) -> RootfsError:
        """Return the RootfsError for a file that changed since the scan."""
        return RootfsError(
            f"{self.show(path)} changed while it was read",
            context=[f"in the root filesystem {self.path}"],
            hint="nothing may change the root filesystem while it is read: run the command again",
        )

    def error(self, path: str, cause: OSError) -> RootfsError:
        """Return the RootfsError for an OSError at `path`; raise it from `cause`."""
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


def _can_exist(path: str) -> bool:
    """Return False for a text that no path of a file system can be: databases may hold any text."""
    if path.isascii():
        return "\0" not in path
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _is_found(entry: os.DirEntry[str]) -> bool:
    """Return False if a directory lists a name that lstat(2) does not find."""
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return True
    try:
        entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
