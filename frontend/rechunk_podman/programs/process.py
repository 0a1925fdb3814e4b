"""Child processes: run without a shell; errors hold the last lines of their output."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from rechunk_podman.errors import ToolError
from rechunk_podman.patterns import compile_later
from rechunk_podman.signals import signals_deferred

log = logging.getLogger(__name__)

_PRCTL = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent is gone."""

TAIL_LINES = 12
_MOST_LINE = 64 << 10
"""The most bytes of a line of output; a longer line is cut here."""
TICK_SECONDS = 0.2
GRACE_SECONDS = 10.0

#: Executable -> the package that contains it; Debian and Fedora use the same names.
PACKAGES: Mapping[str, str] = {
    "podman": "podman",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "newuidmap": "uidmap (Debian) or shadow-utils (Fedora)",
}

SPACE_HINT = (
    "free some space, or name a roomier place with --workdir DIR (or TMPDIR); storage needs room, too"
)

MOUNT_HINT = (
    "root needs CAP_SYS_ADMIN (a container: --privileged), a user needs ids in /etc/subuid, /etc/subgid"
)

_DENIED = compile_later(r"operation not permitted|permission denied", re.IGNORECASE)
_NO_SPACE = compile_later(
    r"no space left on device|not enough space|disk quota exceeded|ENOSPC", re.IGNORECASE
)
# Linear time for any text: no two adjacent parts of the expression match the same character.
_CREDENTIALS = compile_later(r"(?<=://)[^/@\s:]+:[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Result:
    """The whole standard output of a command that succeeded."""

    stdout: bytes

    @property
    def text(self) -> str:
        """The output as text, without white space around it."""
        return self.stdout.decode("utf-8", "surrogateescape").strip()


class CommandError(ToolError):
    """A command ended with a status other than 0.

    Args:
        status: exit status; negative: the number of the signal that ended it.
    """

    def __init__(self, message: str, status: int, *, context: Sequence[str], hint: str | None) -> None:
        super().__init__(message, context=tuple(context), hint=hint)
        self.status = status


def local_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for tools that have to work on local storage, not on a remote service."""
    drop = {
        "CONTAINER_HOST",
        "CONTAINER_CONNECTION",
        "CONTAINER_SSHKEY",
        "SOURCE_DATE_EPOCH",
        "RECHUNK_CREDS",
    }
    return {key: value for key, value in (os.environ if env is None else env).items() if key not in drop}


def find(tool: str, env: Mapping[str, str] | None = None) -> str:
    """Return the path of an executable.

    Raises:
        ToolError: it is not installed; the hint says what to install.
    """
    path = which(tool, env)
    if path is None:
        package = PACKAGES.get(tool, tool)
        names = package if "(" in package else f"apt-get install {package}, or dnf install {package}"
        raise ToolError(f"{tool} is not installed", hint=f"install it: {names}")
    return path


def which(tool: str, env: Mapping[str, str] | None = None) -> str | None:
    """Return the path of an executable, or None."""
    return shutil.which(tool, path=(os.environ if env is None else env).get("PATH", os.defpath))


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    secrets: Sequence[str] = (),
    hint: str | None = None,
    on_line: Callable[[str], None] | None = None,
    tick: Callable[[], None] | None = None,
    started: Callable[[int], None] | None = None,
    merged: bool = False,
    lock: int | None = None,
) -> Result:
    """Run a command to its end.

    An exception during the wait (Ctrl-C, SIGTERM) ends the child, too. The end of this process, even by
    SIGKILL, does the same, because nobody would read the results.

    Args:
        argv: the executable's name (looked up in `env`'s PATH) or path, and its arguments.
        env: the whole environment; this process's own by default. Never logged.
        secrets: strings that are shown as *** in logs and errors.
        hint: advice for the user if the command fails and its output gives no better advice.
        on_line: called with each line of stderr as it comes.
        tick: called about five times a second while the command runs; its exception ends the command.
        started: called with the id of the process.
        merged: treat stdout as stderr, in one order with it.
        lock: the lock of a directory that records what the command changes (temporary.Held). The command
            holds it, too, and runs to its end even if this process ends: no record covers half a change.

    Raises:
        ToolError: it is not installed.
        CommandError: it ended with a status other than 0; the context holds its last lines.
    """
    command = [find(argv[0], env), *argv[1:]]
    shown = redact(shlex.join(argv), secrets)
    log.debug("running %s", shown)
    stdout: list[bytes] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            preexec_fn=following() if lock is None else None,
            pass_fds=() if lock is None else (lock,),
            start_new_session=lock is not None,
        )

    def talk(line: str) -> None:
        line = redact(line, secrets)
        if line.strip():
            tail.append(line.rstrip())
        if on_line is not None:
            on_line(line)
        else:
            log.debug("%s: %s", argv[0], line)

    with ExitStack() as stack:
        with _environment_errors(argv[0]):
            process = stack.enter_context(child(start))
        if started is not None:
            started(process.pid)
        _drain(process, None if merged else stdout.append, talk, tick)
        status = process.wait()
    if status != 0:
        raise failure(argv[0], shown, status, tuple(tail), hint)
    return Result(b"".join(stdout))


def following() -> Callable[[], None]:
    """Return a function that a child calls before exec, so that it ends when this process ends.

    If the parent ended before this call, the child notices that by the id of its parent.
    """
    parent = os.getpid()

    def follow() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return follow


def failure(
    tool: str, shown: str, status: int, tail: tuple[str, ...], hint: str | None = None
) -> CommandError:
    """Return the error of a command that ended with a status other than 0 (negative: by that signal)."""
    how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    context = [*tail, f"command: {shorten(shown)}"]
    name = os.path.basename(tool)
    if any(map(speaks_of_space, tail)):
        return CommandError(
            f"{name} found no space left on the device", status, context=context, hint=SPACE_HINT
        )
    if any(map(_is_denied_mount, tail)):
        return CommandError(f"{name} may not mount here", status, context=context, hint=MOUNT_HINT)
    return CommandError(f"{name} {how}", status, context=context, hint=hint)


def _is_denied_mount(line: str) -> bool:
    _, _, rest = line.lower().partition("mount")
    return _DENIED.search(rest) is not None


def speaks_of_space(line: str) -> bool:
    """Return True if a line of a tool's output is about a full disk."""
    return _NO_SPACE.search(line) is not None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child: send SIGTERM, and SIGKILL after GRACE_SECONDS. Wait for its end in every case."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a child that leads a session of its own, and all processes that it started there.

    Without root, podman runs itself again in a user namespace. The end of the first process does not always
    end the second one.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    end(process)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def child(
    start: Callable[[], subprocess.Popen[bytes]],
    stop: Callable[[subprocess.Popen[bytes]], None] = end,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process and yield it; when the block ends, in any way, stop the process and close its pipes.

    A signal that comes while the process starts waits until its id is known: else it would run on.
    """
    with ExitStack() as stack:
        with signals_deferred():
            process = stack.enter_context(start())
            stack.callback(stop, process)
        yield process


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Return `text` without the secrets, and without user names and passwords in URLs."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***").replace(shlex.quote(secret), "***")
    return _CREDENTIALS.sub("***", text)


def shorten(text: str, limit: int = 400) -> str:
    """Return `text`, cut in the middle if it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} … {text[-half:]}"


@contextmanager
def space_errors(where: str) -> Iterator[None]:
    """Turn an OSError of this process about space or permissions into a ToolError with a hint."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ToolError(
                f"no space left on the device at {where}", context=[str(error)], hint=SPACE_HINT
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR):
            raise ToolError(
                f"cannot write at {where}",
                context=[str(error)],
                hint="name a directory of yours with --workdir DIR (or TMPDIR)",
            ) from error
        raise


@contextmanager
def _environment_errors(tool: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise ToolError(
                f"the arguments of {tool} are too long for the kernel",
                hint="one argument holds 128 KiB at most: hand large values over in files",
            ) from error
        raise ToolError(f"cannot start {tool}", context=[str(error)]) from error


def _drain(
    process: subprocess.Popen[bytes],
    on_stdout: Callable[[bytes], object] | None,
    on_line: Callable[[str], object],
    tick: Callable[[], None] | None,
) -> None:
    """Read the pipes until they close; without on_stdout read stdout line by line, too."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(TICK_SECONDS)
            if not ready and process.poll() is not None:
                break  # a grandchild that outlives the command holds its pipes open
            if tick is not None:
                tick()
            for key, _ in ready:
                block = _read(key.fileobj)  # type: ignore[arg-type]
                if not block:
                    selector.unregister(key.fileobj)
                elif on_stdout is not None and key.fileobj is process.stdout:
                    on_stdout(block)
                else:
                    *lines, pending = (pending + block).split(b"\n")
                    if len(pending) > _MOST_LINE:
                        lines.append(pending)
                        pending = b""
                    for line in lines:
                        on_line(line.decode("utf-8", "backslashreplace"))
    if pending:
        on_line(pending.decode("utf-8", "backslashreplace"))


def _read(pipe: IO[bytes]) -> bytes:
    return os.read(pipe.fileno(), 1 << 16)
