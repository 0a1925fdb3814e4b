"""The order of conda's versions. Pure. Source: conda's documentation of VersionOrder ("Version ordering")."""

from __future__ import annotations

import re

from rechunk_podman.packages.versions import compare_digits, compare_rpm
from rechunk_podman.patterns import compile_later

_VERSION = compile_later(r"(?:(\d+)!)?([a-z0-9_.*]+)(?:\+([a-z0-9_.]+))?\Z", re.ASCII)
_PARTS = compile_later(r"\d+|[^\d.]+", re.ASCII)
_DEV, _TEXT, _NUMBER, _POST = range(4)

_Part = tuple[int, str]


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1; what is no version is older than any, and ordered as rpm does."""
    one, two = (_VERSION.match(text.lower().replace("-", "_")) for text in (a, b))
    if one is None or two is None:
        return (one is not None) - (two is not None) or compare_rpm(a, b)
    result = compare_digits(one[1] or "0", two[1] or "0")
    return result or _compare(one[2], two[2]) or _compare(one[3] or "", two[3] or "")


def _compare(a: str, b: str) -> int:
    one, two = _components(a), _components(b)
    nothing: list[_Part] = [(_NUMBER, "0")]
    for index in range(max(len(one), len(two))):
        left = one[index] if index < len(one) else nothing
        right = two[index] if index < len(two) else nothing
        result = _compare_components(left, right)
        if result:
            return result
    return 0


def _components(text: str) -> list[list[_Part]]:
    """Return the components between dots or underscores, each a list of numbers and texts in turn.

    A component that begins with a letter begins with the number 0. An underscore at the end is a text.
    """
    found = []
    components = re.split(r"[._]", text.rstrip("_")) if text else []
    if text.endswith("_"):
        components[-1] += "_"
    for component in components:
        parts = [_part(part) for part in _PARTS.findall(component)]
        if parts and parts[0][0] != _NUMBER:
            parts.insert(0, (_NUMBER, "0"))
        found.append(parts or [(_NUMBER, "0")])
    return found


def _part(text: str) -> _Part:
    if text.isdigit():
        return _NUMBER, text
    return {"dev": _DEV, "post": _POST}.get(text, _TEXT), text


def _compare_components(a: list[_Part], b: list[_Part]) -> int:
    for index in range(max(len(a), len(b))):
        (kind_a, left), (kind_b, right) = (
            side[index] if index < len(side) else (_NUMBER, "0") for side in (a, b)
        )
        result = (kind_a > kind_b) - (kind_a < kind_b)
        if not result:
            result = compare_digits(left, right) if kind_a == _NUMBER else (left > right) - (left < right)
        if result:
            return result
    return 0
