"""The order of Composer's versions. Pure.

Sources: Composer's documentation, "Versions and constraints"; the PHP manual, version_compare().
"""

from __future__ import annotations

import re

from rechunk_podman.packages.versions import compare_digits
from rechunk_podman.patterns import compile_later

_PARTS = compile_later(r"\d+|[a-z]+|#", re.ASCII)
_FORMS = {
    "alpha": 2,
    "a": 2,
    "beta": 3,
    "b": 3,
    "rc": 4,
    "c": 4,
    "#": 5,
    "pl": 7,
    "p": 7,
    "patch": 7,
    "dev": 1,
}
_NUMBER = 6
_STABLE = compile_later(r"[-_.]?stable\d*\Z")


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1; branches (dev-NAME) are older than any version."""
    one, two = (text.lower().partition("+")[0].partition("#")[0] for text in (a, b))
    if one.startswith("dev-") or two.startswith("dev-"):
        left, right = one.startswith("dev-"), two.startswith("dev-")
        return right - left or (one > two) - (one < two)
    return _compare(_parts(one), _parts(two))


def _parts(text: str) -> list[str]:
    """Return numbers and words; what stands for stability ends a version of four numbers."""
    text = _STABLE.sub("", text.removeprefix("v"))
    found = _PARTS.findall(text)
    numbers = 0
    while numbers < len(found) and found[numbers].isdigit():
        numbers += 1
    return [*found[:numbers], *["0"] * (4 - numbers), *found[numbers:]]


def _compare(one: list[str], two: list[str]) -> int:
    for index in range(max(len(one), len(two))):
        left = one[index] if index < len(one) else "#"
        right = two[index] if index < len(two) else "#"
        if left.isdigit() and right.isdigit():
            result = compare_digits(left, right)
        else:
            forms = [_NUMBER if part.isdigit() else _FORMS.get(part, 0) for part in (left, right)]
            result = (forms[0] > forms[1]) - (forms[0] < forms[1])
        if result:
            return result
    return 0
