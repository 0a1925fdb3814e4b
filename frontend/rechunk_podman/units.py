"""Sizes and counts as text."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from rechunk_podman.patterns import compile_later

_SIZE = compile_later(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)


def human_size(size: float) -> str:
    """Return bytes in the largest decimal unit of which there is at least one: `14.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def parse_size(text: str) -> int | None:
    """Return the bytes of a text like `20GB`, `1.5 TB`, `512MiB` or a plain number; None for other text.

    kB, MB, GB, TB are powers of 1000, as human_size() prints them; KiB and so on are powers of 1024.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        return None
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " "))


def plural(count: int, what: str, many: str | None = None) -> str:
    """Return `1 file` or `2 files`."""
    return f"{count} {what if count == 1 else many or what + 's'}"


def time_text(value: str) -> str:
    """Return epoch seconds as date and time (UTC); any other text, and a year that has no date, unchanged."""
    try:
        return datetime.fromtimestamp(int(value), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return value


def printable(text: str) -> str:
    """Return the text as one line; control characters and undecodable bytes are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
