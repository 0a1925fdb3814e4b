"""The order of gems' versions. Pure. Source: RubyGems' documentation of Gem::Version."""

from __future__ import annotations

import re

from rechunk_podman.packages.versions import compare_digits, compare_rpm
from rechunk_podman.patterns import compile_later

_VERSION = compile_later(r"\d+(?:\.[0-9a-zA-Z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z", re.ASCII)
_SEGMENTS = compile_later(r"\d+|[a-z]+", re.ASCII | re.IGNORECASE)


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1; what is no version is older than any, and ordered as rpm does."""
    if not (_VERSION.match(a) and _VERSION.match(b)):
        return bool(_VERSION.match(a)) - bool(_VERSION.match(b)) or compare_rpm(a, b)
    one, two = _segments(a), _segments(b)
    for index in range(max(len(one), len(two))):
        left = one[index] if index < len(one) else "0"
        right = two[index] if index < len(two) else "0"
        if left.isdigit() != right.isdigit():
            return 1 if left.isdigit() else -1
        result = compare_digits(left, right) if left.isdigit() else (left > right) - (left < right)
        if result:
            return result
    return 0


def _segments(text: str) -> list[str]:
    """Return numbers and letters, without zeros before the first letter and at the end.

    A dash begins a prerelease.
    """
    found: list[str] = []
    for segment in _SEGMENTS.findall(text.replace("-", ".pre.")):
        if not segment.isdigit() and all(map(str.isdigit, found)):
            _strip(found)
        found.append(segment)
    _strip(found)
    return found


def _strip(segments: list[str]) -> None:
    while segments and segments[-1].isdigit() and not segments[-1].strip("0"):
        segments.pop()
