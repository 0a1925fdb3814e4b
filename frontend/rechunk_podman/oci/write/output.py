"""Where an image goes: `[oci:|oci-archive:|docker-archive:]PATH`, and files written aside and renamed."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.oci.write.layers import output_error, write_at

_CHUNK = 1 << 20
_OTHERS = (
    "containers-storage:",
    "dir:",
    "docker:",
    "docker-daemon:",
    "docker://",
    "ostree:",
    "sif:",
    "tarball:",
)
"""Other transports of containers-transports(5): no file of that name is meant."""


class OutputKind(Enum):
    """The forms an image can be written in; the values are the names of containers-transports(5)."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True)
class Output:
    """A form and a place. path: None is standard output. tag: the reference behind the path, if any."""

    kind: OutputKind
    path: str | None
    tag: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Output:
        """`[KIND:]PATH`: an OCI archive if no kind is named, standard output for None and `-`.

        With a kind, `KIND:PATH:REFERENCE` as in containers-transports(5), where a colon ends the path.

        Raises:
            UsageError: no path, another transport, or a layout (a directory) on standard output.
        """
        if text is not None and text.startswith(_OTHERS):
            raise UsageError(
                f"--output {text}: images are written as oci:, oci-archive: and docker-archive: alone",
                hint="`skopeo copy` takes such an image anywhere; `rechunk-podman split --push` pushes",
            )
        tag = None
        kind, path = OutputKind.OCI_ARCHIVE, text
        for candidate in OutputKind:
            if text is not None and text.startswith(candidate.value + ":"):
                kind = candidate
                path, colon, tag = text[len(candidate.value) + 1 :].partition(":")
                tag = tag if colon else None
        if path == "":
            raise UsageError(
                f"--output {text}: no path", hint="--output [oci:|oci-archive:|docker-archive:]PATH"
            )
        if path == "-":
            path = None
        if path is None and kind is OutputKind.OCI:
            raise UsageError(
                "an OCI layout is a directory: it cannot go to standard output", hint="--output oci:PATH"
            )
        if tag == "":
            raise UsageError(f"--output {text}: no name behind the colon", hint="--output KIND:PATH[:NAME]")
        return cls(kind, path, tag)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.path or '-'}"


def beside(path: Path) -> Path:
    """A new name in the directory of `path`, for what shall be renamed to it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _open_unseen(place: Path) -> tuple[int, Path | None]:
    """A new file for what shall be at `place`, and its name beside it (OSError).

    Where the file system can, it has none: whatever ends this process ends the file (open(2), O_TMPFILE).
    """
    aside = beside(place)
    try:
        probe = os.open(place.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            # the name can be given once: whether that is allowed here, another file has to tell
            _name(probe, aside)
            aside.unlink()
        finally:
            os.close(probe)
        return os.open(place.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666), None
    except OSError:
        return os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), aside


def _name(fd: int, path: Path) -> None:
    """Gives an open file its first name."""
    # with a descriptor os.link() calls linkat(2), which can follow the symlink in /proc
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def spool_directory() -> str:
    """Where large temporary files belong: TMPDIR, else /var/tmp (/tmp is often in memory)."""
    chosen = os.environ.get("TMPDIR")
    if chosen:
        return chosen
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108


class OutputFile:
    """A file that appears whole or not at all; a context manager: left without commit() it is discarded.

    A path is written without a name, or under another beside it, and gets its name at the end. Standard
    output, where it is a plain file, is written in place (and cut off again on failure); any other stream
    gets a copy of a temporary file at the end.

    Attributes:
        fd: the descriptor to pwrite(2) to, from `base` on.
        name: for messages.
        directory: where other temporary files may be kept.

    Raises:
        RechunkError, UsageError: it cannot be written.
    """

    def __init__(self, path: str | None, stdout: int = 1) -> None:
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
        place = Path(os.path.realpath(path))
        self.directory = str(place.parent)
        try:
            # by the name that was given: that of a pipe in /proc/self/fd leads nowhere
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
            self.fd, self._aside = _open_unseen(place)
            self._path = place
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
        """Writes all of `data` at `offset` (counted from `base`)."""
        write_at(self.fd, data, self.base + offset, self.name)

    def commit(self, size: int) -> None:
        """The file is complete, `size` bytes long: it takes its place."""
        try:
            if self._stream is not None:
                self.name = self._shown
                copy(self.fd, self._stream, size)
                os.close(self._stream)
            elif self._path is None:
                os.lseek(self.fd, self.base + size, os.SEEK_SET)
            elif self._aside is None:
                aside = beside(self._path)
                _name(self.fd, aside)
                self._aside = aside
            fd, self.fd = self.fd, -1
            os.close(fd)  # some file systems find only here that there is no room
            if self._aside is not None and self._path is not None:
                self._aside.rename(self._path)
        except BrokenPipeError as error:
            raise RechunkError(f"{self.name} was closed before the image was complete") from error
        except OSError as error:
            raise output_error(self.name, error) from error
        self._done = True

    def _discard(self) -> None:
        if self._aside is not None:
            self._aside.unlink()
        elif self._stream is not None:
            os.close(self._stream)
        elif self._path is None and self.fd >= 0:
            os.ftruncate(self.fd, self.base)
        if self.fd >= 0:
            os.close(self.fd)


def copy(source: int, stream: int, size: int) -> None:
    """Copies the first `size` bytes of the file `source` to a stream, at its position (OSError)."""
    offset = 0
    while offset < size:
        data = os.pread(source, min(_CHUNK, size - offset), offset)
        if not data:
            raise RechunkError("a temporary file was cut short")
        offset += len(data)
        while data:
            data = data[os.write(stream, data) :]
