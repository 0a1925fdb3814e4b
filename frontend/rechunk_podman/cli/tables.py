"""Tables and lines for people on stdout. Text from images is escaped before it is printed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone

from rechunk_podman.units import human_size, printable

NAMES = 4
"""The number of names that one line or cell lists."""

_UNLIMITED = 1 << 20
"""The width of a table that is not on a terminal, in columns."""


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()
) -> None:
    """Print a table without cutting cells: long cells take several lines on a terminal, else one line.

    Args:
        title: a line above it; "" for none.
        numbers: the columns that are aligned to the right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in columns:
        number = column in numbers
        table.add_column(
            Text(printable(column)), justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if title:
        print_lines([title])
    # Without a terminal rich assumes 80 columns; if some variables of CI are set, it assumes a terminal.
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)


def print_lines(lines: Iterable[str]) -> None:
    """Print plain lines."""
    for line in lines:
        sys.stdout.write(printable(line) + "\n")


def first_of(names: Sequence[str], more: int = 0) -> str:
    """Return a text with the first names, and the number of the others.

    Args:
        more: the number of further, unknown names.
    """
    shown = ", ".join(names[:NAMES])
    more += max(len(names) - NAMES, 0)
    return shown + (f" and {more} more" if more else "")


def shortened(lines: Sequence[str], limit: int, hint: str) -> list[str]:
    """Return at most `limit` of the lines, indented, and a line with the number of the others.

    Args:
        hint: the option that shows all lines.
    """
    shown = [f"  {line}" for line in lines[:limit]]
    more = len(lines) - len(shown)
    return [*shown, f"  and {more} more ({hint})"] if more else shown


def size_of(size: float | None, unknown: str = "unknown") -> str:
    """Return a number of bytes as text for people, or `unknown` for None."""
    return unknown if size is None else human_size(size)


def day(seconds: int) -> str:
    """Return a date (epoch seconds) as YYYY-MM-DD, UTC, or as `@SECONDS` if it is out of range."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"
