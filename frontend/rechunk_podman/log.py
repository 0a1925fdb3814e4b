"""NOTE: a log level between INFO and WARNING, shown by default."""

from __future__ import annotations

import logging

NOTE = 25
"""Its level. The command line writes it as `note: …` to stderr."""

logging.addLevelName(NOTE, "NOTE")


def note(log: logging.Logger, message: str, *values: object) -> None:
    """Logs at that level, as Logger.info() does at its."""
    log.log(NOTE, message, *values)
