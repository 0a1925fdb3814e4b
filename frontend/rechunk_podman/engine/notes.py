"""Talk that is shown without being asked for: between the warnings and what -v adds."""

from __future__ import annotations

import logging

NOTE = 25
"""Its level. The command line writes it as `note: …` to stderr."""

logging.addLevelName(NOTE, "NOTE")


def note(log: logging.Logger, message: str, *values: object) -> None:
    """Logs at that level, as Logger.info() does at its."""
    log.log(NOTE, message, *values)


def human_size(size: float) -> str:
    """Bytes in the largest decimal unit that leaves a number of at least one: `14.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
