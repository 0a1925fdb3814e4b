"""Texts in image documents: JSON, dates, names of architectures.

Sources: RFC 8259, RFC 3339 (image-spec config.md "created"), Go's GOARCH as config.md "architecture" asks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from rechunk_podman.errors import ImageError, RechunkError, UsageError
from rechunk_podman.patterns import compile_later

_RFC3339 = compile_later(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))\Z", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
GO_ZERO = -62135596800
"""Epoch seconds of Go's zero time, which means "no time"."""
_LATEST = 253402300799
MAX_NESTING = 100
"""The largest number of nested lists and objects in a document; real ones have a dozen."""

_ARCHITECTURES: Mapping[str, tuple[str, str | None]] = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "aarch64_be": ("arm64be", None),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv7hl": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armel": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", None),
    "i486": ("386", None),
    "i586": ("386", None),
    "i686": ("386", None),
    "ppc64el": ("ppc64le", None),
    "mips64el": ("mips64le", None),
    "mipsel": ("mipsle", None),
    "loongarch64": ("loong64", None),
}


def load_json(
    text: str | bytes, name: str, error: type[RechunkError] = ImageError, hint: str | None = None
) -> Any:
    """Read a JSON document, strictly: no NaN, no text after it. Lone surrogates become U+FFFD, as for Go.

    Raises:
        error: the text is not JSON (with line and column) or not UTF-8, is nested too deeply, or has an
            infinite number.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            raise error(
                f"{name} is not UTF-8 text", context=[f"at byte {problem.start}"], hint=hint
            ) from problem
    else:
        text = scrub(text)
    if not text.strip():
        raise error(f"{name} is empty", hint=hint)
    try:
        document = json.loads(text, parse_constant=_no_constant)
        _check(document)
    except json.JSONDecodeError as problem:
        line = text.splitlines()[problem.lineno - 1 : problem.lineno]
        shown = [line[0][max(0, problem.colno - 41) : problem.colno + 39]] if line else []
        where = f"line {problem.lineno}, column {problem.colno}: {problem.msg}"
        raise error(f"{name} is not JSON", context=[where, *shown], hint=hint) from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{name} is not JSON that can be read", context=[str(problem)], hint=hint) from problem
    return _scrubbed(document) if "\\ud" in text.lower() else document


def _check(document: object) -> None:
    """Raise ValueError if a document is nested too deeply or has an infinite number."""
    level = [document]
    for _ in range(MAX_NESTING):
        if any(isinstance(value, float) and math.isinf(value) for value in level):
            raise ValueError("a number is too large")
        level = [
            child
            for value in level
            if isinstance(value, (dict, list))
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_NESTING} levels")


def _scrubbed(document: Any) -> Any:
    if isinstance(document, str):
        return scrub(document)
    if isinstance(document, list):
        return [_scrubbed(value) for value in document]
    if isinstance(document, dict):
        return {scrub(key): _scrubbed(value) for key, value in document.items()}
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def canonical_json(document: object) -> bytes:
    """Return compact UTF-8 JSON with sorted keys; lone surrogates become U+FFFD, as Go decodes them."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return scrub(text).encode()


def scrub(text: str) -> str:
    """Return the text with lone surrogates (undecodable bytes of a path) replaced by U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def parse_time(text: str) -> int:
    """Return the epoch seconds, floored, of an RFC 3339 date.

    Raises:
        ValueError: the text is not such a date.
    """
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"not a date: {text!r}")
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if match.group(7):
        offset = int(match.group(8)) * 3600 + int(match.group(9)) * 60
        seconds += -offset if match.group(7) == "+" else offset
    return seconds


def format_time(seconds: int) -> str:
    """Return epoch seconds as RFC 3339, UTC, whole seconds.

    Raises:
        UsageError: the time is before the year 1 or after 9999.
    """
    if not GO_ZERO <= seconds <= _LATEST:
        raise UsageError(f"not a time that an image config can hold: {seconds}", hint="give epoch seconds")
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def normalise_architecture(name: str) -> tuple[str, str | None]:
    """Return (GOARCH, variant or None) for an architecture as uname, rpm or dpkg name it."""
    lower = name.strip().lower()
    return _ARCHITECTURES.get(lower, (lower, None))
