"""What both engines are asked for, and what they share: working directories, the chunker's errors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rechunk_podman.errors import RechunkError
from rechunk_podman.programs.podman import Image
from rechunk_podman.programs.process import SPACE_HINT, space_errors, speaks_of_space

Progress = Callable[[str, int, int], None]
"""(what is being done, bytes done, bytes there are to do; 0 where nobody knows)."""

DEFAULT_WORK_PARENT = "/var/tmp"  # noqa: S108
"""Where podman and buildah, too, put what is too large for /tmp."""


@dataclass(frozen=True, slots=True)
class Request:
    """One split.

    image: what is split. config: the config document for the result. tag: the full name of the result.
    flags: options of `rechunk-podman build` apart from root filesystem, config and output.
    workdir: where temporary files go; None: TMPDIR, else /var/tmp.
    previous: the config of the image before, whose Ledger the plan goes by.
    held: diff_ids of layers that the storage holds already: they need not be written for it.
    """

    image: Image
    config: bytes
    tag: str
    flags: tuple[str, ...]
    workdir: str | None = None
    previous: bytes | None = None
    held: tuple[str, ...] = ()


@contextmanager
def work_directory(parent: str | None) -> Iterator[str]:
    """A private directory (0700), removed with all it holds in every case.

    Raises:
        ToolError: it cannot be made.
    """
    where = parent or os.environ.get("TMPDIR") or DEFAULT_WORK_PARENT
    with space_errors(where):
        path = tempfile.mkdtemp(prefix="rechunk-podman-", dir=where)
    try:
        yield os.path.realpath(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def tool_environment(env: dict[str, str], workdir: str | None) -> dict[str, str]:
    """`env` with the tools' own temporary files in `workdir`, where one was given."""
    return {**env, "TMPDIR": workdir} if workdir else env


def write(path: str, data: bytes) -> None:
    """Writes a file of a working directory.

    Raises:
        ToolError: no space.
    """
    with space_errors(str(Path(path).parent)), open(path, "wb") as file:
        file.write(data)


def size_below(path: str) -> int:
    """Bytes in the regular files of a directory, of those that stay while it looks."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def chunker_error(lines: Sequence[str], status: int = 1) -> RechunkError | None:
    """The last error that `rechunk-podman build` reported among the lines of its (or its builder's) stderr.

    Args:
        lines: all of them, in order.
        status: of the command: 2 says that the call was wrong.

    It writes `error: what`, context indented by two, `hint: what to do` (cli/console.py, report()).
    """
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        return None
    start = starts[-1]
    context = []
    hint = None
    for line in lines[start + 1 :]:
        if line.startswith("  "):
            context.append(line.strip())
        else:
            hint = line.removeprefix("hint: ") if line.startswith("hint: ") else None
            break
    message = lines[start].removeprefix("error: ")
    if any(map(speaks_of_space, (message, *context))):
        hint = SPACE_HINT
    return RechunkError(message, context=context, hint=hint, exit_code=2 if status == 2 else 1)
