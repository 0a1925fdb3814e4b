"""stdout is data, stderr is talk: the two consoles, the logging set-up and the one error boundary."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from rechunk_podman.engine.notes import NOTE, human_size
from rechunk_podman.errors import RechunkError

__all__ = ["guarded", "human_size", "print_json", "report", "set_up_logging", "write_line"]

LEVELS = (NOTE, logging.INFO, logging.DEBUG)


class _Plain(logging.Formatter):
    """`level: message`, the level only where it is not talk of the work's progress."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().encode("utf-8", "backslashreplace").decode("utf-8")
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def set_up_logging(verbosity: int) -> None:
    """Sends the package's log to stderr: warnings and notes; with 1 also the stages; with 2 everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain())
    logger = logging.getLogger("rechunk_podman")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])


def print_json(document: Any) -> None:
    """Writes one JSON document to stdout; names that are not UTF-8 keep their bytes as \\udcXX escapes."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")


def write_line(text: str, *, error: bool = False) -> None:
    """Writes one line to stdout, or to stderr."""
    (sys.stderr if error else sys.stdout).write(text + "\n")


def report(error: RechunkError) -> None:
    """Writes an error to stderr: what, the context, what to do; the traceback at -vv."""
    lines = [f"error: {error.message}"]
    lines += [f"  {line}" for line in error.context]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    text = "\n".join(lines)
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    if logging.getLogger("rechunk_podman").isEnabledFor(logging.DEBUG):
        traceback.print_exception(error, file=sys.stderr)


def guarded(command: Callable[[], None]) -> NoReturn:
    """Runs the command line and turns what library code raises into text and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command()
        sys.stdout.flush()
        code = 0
    except RechunkError as error:
        report(error)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter's own flush at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = 130
    sys.exit(code)
