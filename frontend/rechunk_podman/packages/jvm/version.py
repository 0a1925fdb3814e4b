"""The order of Maven's versions. Pure. Source: Maven's "POM Reference", "Version Order Specification".

A version is a list of numbers, qualifiers and lists: each dash, and each change between digits and letters,
begins a list within the list. So does a dot before a qualifier that ends the version or precedes a digit.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from rechunk_podman.packages.versions import compare_digits, compare_rpm
from rechunk_podman.patterns import compile_later

_PARTS = compile_later(r"[.-]|\d+|[^\d.-]+", re.ASCII)
_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_RELEASE = _QUALIFIERS.index("")
_ALIASES = {"ga": "", "final": "", "release": "", "cr": "rc"}
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_LONGEST = 250
"""Characters of the longest version that is compared by these rules, list in list."""

_Item: TypeAlias = "str | list[_Item]"
"""A number or a qualifier (a text), or a list."""


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1. A text that is too long for a version is older than any, and ordered as rpm does."""
    if max(len(a), len(b)) > _LONGEST:
        return (len(a) <= _LONGEST) - (len(b) <= _LONGEST) or compare_rpm(a, b)
    return _compare(_parsed(a), _parsed(b))


def _parsed(text: str) -> list[_Item]:
    top: list[_Item] = []
    lists = [top]

    def descend() -> None:
        inner: list[_Item] = []
        lists[-1].append(inner)
        lists.append(inner)

    before = "."
    parts = _PARTS.findall(text.lower())
    for part, after in zip(parts, [*parts[1:], ""], strict=False):
        if part in ".-":
            if before in ".-":
                lists[-1].append("0")
            if part == "-":
                descend()
        else:
            is_last_word = not part.isdigit() and (not after or after.isdigit())
            if before not in ".-" or (is_last_word and lists[-1]):
                descend()
            lists[-1].append(part if part.isdigit() else _qualifier(part, after))
        before = part
    for found in reversed(lists):
        _normalise(found)
    return top


def _qualifier(word: str, after: str) -> str:
    if after.isdigit():
        word = _SHORT.get(word, word)
    return _ALIASES.get(word, word)


def _normalise(items: list[_Item]) -> None:
    """Leave out zeros and empty qualifiers at the end, and before lists."""
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if item == [] or (isinstance(item, str) and not item.strip("0")):
            del items[index]
        elif isinstance(item, str):
            break


def _compare(a: _Item | None, b: _Item | None) -> int:
    """Compare two items; None stands for one that is missing."""
    if a is None or b is None:
        return 0 if a is b else -_against_nothing(b) if a is None else _against_nothing(a)
    if isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            result = _compare(a[index] if index < len(a) else None, b[index] if index < len(b) else None)
            if result:
                return result
        return 0
    result = _kind(a) - _kind(b)
    if result:
        return 1 if result > 0 else -1
    left, right = str(a), str(b)
    if left.isdigit():
        return compare_digits(left, right)
    one, two = _rank(left), _rank(right)
    return (one > two) - (one < two)


def _kind(item: _Item) -> int:
    """Return the order of kinds: a qualifier is older than a list, a list is older than a number."""
    if isinstance(item, list):
        return 1
    return 2 if item.isdigit() else 0


def _rank(qualifier: str) -> tuple[int, str]:
    if qualifier in _QUALIFIERS:
        return _QUALIFIERS.index(qualifier), ""
    return len(_QUALIFIERS), qualifier


def _against_nothing(item: _Item | None) -> int:
    """Compare an item with a missing one."""
    if isinstance(item, list):
        return next(filter(None, map(_against_nothing, item)), 0)
    if item is None or item.isdigit():
        return 1 if item and item.strip("0") else 0
    rank = _rank(item)
    return (rank > (_RELEASE, "")) - (rank < (_RELEASE, ""))
