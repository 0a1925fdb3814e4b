"""Read and write the files of a repository; never follow a symlink in it."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from rechunk_podman.errors import UsageError
from rechunk_podman.files import output_error, write_file


def read(folder: Path, paths: Iterable[str]) -> dict[str, bytes | None]:
    """Return the contents of these paths below a folder; None for an absent file.

    Raises:
        UsageError: a path leads out of the folder, by a symlink or by its name, or is no regular file.
    """
    return {path: _read(_inside(folder, path)) for path in paths}


def write(folder: Path, path: str, data: bytes) -> None:
    """Write a file whole or not at all, executable if it begins with `#!`; make the directories above it.

    Raises:
        UsageError: as `read()`. RechunkError: it cannot be written.
    """
    target = _inside(folder, path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(str(target), error) from error
    write_file(target, data, executable=data.startswith(b"#!"))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _inside(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise UsageError(f"not a path in the repository: {path!r}")
    location = folder
    for number, part in enumerate(parts, 1):
        location = location / part
        try:
            mode = location.lstat().st_mode
        except FileNotFoundError:
            break
        except NotADirectoryError as error:
            raise UsageError(f"{location.parent} is not a directory") from error
        if not (stat.S_ISREG(mode) if number == len(parts) else stat.S_ISDIR(mode)):
            raise UsageError(f"{location} is not what it should be", hint="a file, in plain directories")
    return folder.joinpath(*parts)
