"""Room on disk: log it before work starts, and raise if it is certainly too little."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.process import SPACE_HINT, space_errors
from rechunk_podman.units import human_size

log = logging.getLogger(__name__)

BEST_RATIO = 20
"""The highest compression ratio of a real layer; room for less is certainly too little."""


def existing(path: str) -> str:
    """Return the path itself, or its nearest parent that exists."""
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    return str(place)


def free(path: str) -> int:
    """Return the bytes that this user may still write on the file system of `path`, which need not exist.

    Raises:
        ToolError: the file system cannot be read.
    """
    with space_errors(path):
        status = os.statvfs(existing(path))
    return status.f_bavail * status.f_frsize


def least(size: int, *, compressed: bool) -> int:
    """Return the lower bound on the bytes that layers of `size` bytes need on disk."""
    return size // BEST_RATIO if compressed else size


def require(what: str, path: str, *, at_most: int, at_least: int = 0, level: int = logging.INFO) -> None:
    """Log the bytes that are needed and the bytes that are free; raise if even `at_least` is not free.

    Args:
        what: the files that need room, for messages.
        path: where they will be written.
        at_most, at_least: bounds in bytes.

    Raises:
        ToolError: even the lower bound does not fit.
    """
    room, where = free(path), existing(path)
    sizes = human_size(at_most), human_size(room)
    log.log(level, "space: %s: at most %s needed, %s free at %s", what, *sizes, where)
    if room < at_least:
        raise ToolError(
            f"not enough space at {where} for {what}",
            context=[f"at least {human_size(at_least)} needed, {human_size(room)} free"],
            hint=SPACE_HINT,
        )
