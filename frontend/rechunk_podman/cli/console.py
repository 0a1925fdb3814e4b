"""Write data to stdout and messages to stderr; set up the log; turn errors into text and exit codes."""

from __future__ import annotations

import codecs
import errno
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from rechunk_podman.errors import NamespaceRequiredError, RechunkError, UsageError
from rechunk_podman.log import NOTE

__all__ = ["guarded", "json_text", "print_json", "report", "set_up_logging", "set_up_streams", "write_line"]

LEVELS = (NOTE, logging.INFO, logging.DEBUG)

JSON_FORMAT = 1
"""The format number of every JSON document on stdout; docs/json.md says when it changes."""

INTERRUPTED = 130
"""The exit code after SIGINT, SIGTERM or SIGHUP; shells use it for SIGINT."""

WRONG_CALL: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)
"""The exception class for wrong arguments: click's, or in newer typer that of its copy of click."""


_PLAINER = {"→": "->", "…": "...", "─": "-", "│": "|", "├": "|", "└": "`"}
"""Characters in our messages -> replacements for encodings that lack them."""


def set_up_streams() -> None:
    """Make every text printable on stdout and stderr, whatever their encoding.

    A character that the encoding lacks is replaced by a similar one or an escape.
    """
    codecs.register_error("plainer", _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="plainer")


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plainer = _PLAINER.get(error.object[error.start])
    if plainer is None:
        return codecs.backslashreplace_errors(error)
    return plainer, error.start + 1


class _Plain(logging.Formatter):
    """Format records as `level: message`; leave the level out for INFO, the level of progress."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().encode("utf-8", "backslashreplace").decode("utf-8")
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def set_up_logging(verbosity: int, trace: Path | None = None) -> None:
    """Send the package's log to stderr.

    Args:
        verbosity: 0 shows warnings and notes, 1 also the stages of the work, 2 all records.
        trace: a file for all records, at any verbosity.

    Raises:
        UsageError: the file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    handlers = [handler]
    if trace is not None:
        try:
            handlers.append(logging.FileHandler(trace, mode="w", encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise UsageError(
                f"--trace-logfile {trace}: {error.strerror}", hint="name a file in a directory of yours"
            ) from error
    logger = logging.getLogger("rechunk_podman")
    for handler in handlers:
        handler.setFormatter(_Plain())
    logger.handlers[:] = handlers
    logger.propagate = False
    logger.setLevel(logging.DEBUG if trace is not None else handlers[0].level)


def print_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout, its format number first.

    Bytes that are not UTF-8 become \\udcXX escapes. docs/schemas/ describes the documents.
    """
    sys.stdout.write(json_text(document))


def json_text(document: Mapping[str, Any]) -> str:
    """Return the text that print_json() writes."""
    return json.dumps({"format": JSON_FORMAT, **document}, indent=2, ensure_ascii=True) + "\n"


def write_line(text: str, *, error: bool = False) -> None:
    """Write one line to stdout, or to stderr."""
    (sys.stderr if error else sys.stdout).write(text + "\n")


def report(error: RechunkError) -> None:
    """Write an error to stderr: the message, its context, the hint, and at -vv the traceback."""
    lines = [f"error: {error.message}"]
    lines += [f"  {line}" for line in error.context]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    text = "\n".join(lines)
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    handlers = logging.getLogger("rechunk_podman").handlers
    if handlers and handlers[0].level <= logging.DEBUG:
        traceback.print_exception(error, file=sys.stderr)


def _wrong_call(error: Exception) -> int:
    """Report typer's error about wrong arguments; return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return 2
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    name = "rechunk-podman" if context is None else context.command_path
    report(UsageError(message[:1].lower() + message[1:], hint=f"{name} --help"))
    return 2


def withhold(variable: str) -> None:
    """Remove a secret variable from the environment, which /proc/PID/environ would show of every child."""
    if variable in os.environ:
        _withheld[variable] = os.environ.pop(variable)


_withheld: dict[str, str] = {}
"""Removed variables; the command needs them if it is run again in a user namespace."""


def _rooted(command: Callable[[], object]) -> object:
    """Call the command; if it needs a user namespace, run it again in one, by replacing this process."""
    try:
        return command()
    except NamespaceRequiredError:
        from rechunk_podman.programs.namespace import reexecute_in_namespace

        reexecute_in_namespace(sys.argv[1:], _withheld)


def guarded(command: Callable[[], object]) -> NoReturn:
    """Run the command line, turn its errors into text, and exit.

    A command that needs to be root of a user namespace is run again in one, with the same arguments.

    Args:
        command: returns an exit code, or None for 0.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # When the terminal is closed, end and remove temporary files, except under nohup.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    if "RECHUNK_OUTER_PID" in os.environ:
        from rechunk_podman.programs.namespace import end_with_outer

        end_with_outer()
    try:
        given = _rooted(command)
        sys.stdout.flush()
        code = given if isinstance(given, int) else 0
    except RechunkError as error:
        report(error)
        code = error.exit_code
    except WRONG_CALL as error:
        code = _wrong_call(error)
    except BrokenPipeError:
        # The reader of our output has ended; without this, the interpreter's flush at exit would fail, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        # An OSError without a file name comes from standard output.
        if (
            error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
            or error.filename is not None
        ):
            raise
        report(RechunkError(f"cannot write to standard output: {error.strerror}", hint="send it elsewhere"))
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # typer turns an interrupt into this or, in older versions, into Abort
        sys.stderr.write("error: interrupted\n")
    sys.exit(code)
