"""Small files that a command writes beside its image: refused before the work, whole when it is done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write.layers import output_error
from rechunk_podman.oci.write.output import beside


def require_place(path: Path, option: str) -> None:
    """Refuses a place that cannot be written, before the long work.

    Args:
        option: that names the place, for the message.

    Raises:
        UsageError: a directory, or a place in none, or in one that may not be written to.
    """
    folder = path.absolute().parent
    if path.is_dir():
        reason = "it is a directory"
    elif not folder.is_dir():
        reason = f"there is no directory {folder}"
    elif not os.access(path if is_stream(path) else folder, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise UsageError(f"{option} {path}: {reason}", hint="name a file in a directory of yours")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all; into a stream (/dev/stderr) directly.

    Raises:
        RechunkError: it cannot be written.
    """
    try:
        if is_stream(path):
            path.write_bytes(data)
            return
        path = Path(os.path.realpath(path))
        aside = beside(path)
        try:
            aside.write_bytes(data)
            aside.rename(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise output_error(str(path), error) from error


def is_stream(path: Path) -> bool:
    """Whether something is there that is neither a file nor a directory: a pipe, a FIFO, a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
