"""Room on disk: said before work starts, and an error where there is certainly too little."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.process import SPACE_HINT, space_errors
from rechunk_podman.units import human_size

log = logging.getLogger(__name__)

BEST_RATIO = 20
"""No real layer gets smaller than one in so many: less room than that is certainly too little."""


def existing(path: str) -> str:
    """The path itself, or its nearest parent that is there."""
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    return str(place)


def free(path: str) -> int:
    """Bytes that this user may still write on the file system of `path` (it need not be there yet).

    Raises:
        ToolError: it cannot be looked at.
    """
    with space_errors(path):
        status = os.statvfs(existing(path))
    return status.f_bavail * status.f_frsize


def least(size: int, *, compressed: bool) -> int:
    """Return the bytes that layers of `size` bytes need on disk at the very least."""
    return size // BEST_RATIO if compressed else size


def sentence(what: str, at_most: int, path: str) -> str:
    """What is needed, what is there, and where."""
    return f"{what}: at most {human_size(at_most)} needed, {human_size(free(path))} free at {existing(path)}"


def require(what: str, path: str, *, at_most: int, at_least: int = 0, level: int = logging.INFO) -> None:
    """Logs, at that level, what is needed and what is there.

    Args:
        what: what needs it.
        path: where it will be written.
        at_most, at_least: bytes, the bounds that are known.

    Raises:
        ToolError: even the lower bound does not fit.
    """
    said = sentence(what, at_most, path)
    log.log(level, "space: %s", said)
    if free(path) < at_least:
        raise ToolError(
            f"not enough space at {existing(path)} for {what}",
            context=[f"at least {human_size(at_least)} needed, {human_size(free(path))} free"],
            hint=SPACE_HINT,
        )
