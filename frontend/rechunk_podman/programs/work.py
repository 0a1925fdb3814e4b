"""Working directories for large temporary files, and the environment of tools that work there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rechunk_podman.files import spool_directory
from rechunk_podman.programs.leftovers import clear_once
from rechunk_podman.programs.process import space_errors
from rechunk_podman.temporary import Held, private_directory


@contextmanager
def locked_directory(parent: str | None) -> Iterator[Held]:
    """Make a private directory (0700), and remove it with its contents in every case.

    Leftovers of killed runs are removed first.

    Args:
        parent: None for files.spool_directory().

    Raises:
        ToolError: it cannot be made.
    """
    clear_once(parent)
    where = parent or spool_directory()
    with ExitStack() as stack:
        with space_errors(where):
            held = stack.enter_context(private_directory(where))
        yield held


@contextmanager
def work_directory(parent: str | None = None) -> Iterator[str]:
    """Like locked_directory(), but yield only the path."""
    with locked_directory(parent) as held:
        yield held.path


def tool_environment(env: Mapping[str, str], workdir: str | None) -> dict[str, str]:
    """Return `env` with the tools' own temporary files in `workdir`, if one is given."""
    return {**env, "TMPDIR": workdir} if workdir else dict(env)


def write(path: str, data: bytes) -> None:
    """Write a file of a working directory.

    Raises:
        ToolError: no space.
    """
    with space_errors(str(Path(path).parent)), open(path, "wb") as file:
        file.write(data)


def size_below(path: str) -> int:
    """Return the bytes in the regular files of a directory; a file removed meanwhile counts as 0."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
