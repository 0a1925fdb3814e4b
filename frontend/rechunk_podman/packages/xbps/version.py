"""The order of xbps's versions. Pure.

Source: xbps's lib/external/dewey.c, the order of NetBSD's pkg_install (pkg_info(1), "Technical information").
"""

from __future__ import annotations

import re

from rechunk_podman.patterns import compile_later

_PART = compile_later(
    r"(?P<number>[0-9]+)|(?P<word>alpha|beta|pre|rc|pl|\.)|_(?P<revision>[0-9]*)|(?P<letter>[a-z])",
    re.IGNORECASE | re.ASCII,
)
_WORDS = {"alpha": -3, "beta": -2, "pre": -1, "rc": -1, "pl": 0, ".": 0}

_Number = tuple[int, str]
"""(sign or length, digits): the order of numbers of any length."""

_ZERO = (0, "")


def compare_xbps(a: str, b: str) -> int:
    """Return -1, 0 or 1 if `a` is older than, equal to or newer than `b`."""
    (one, revision_a), (two, revision_b) = _parts(a), _parts(b)
    length = max(len(one), len(two))
    one += [_ZERO] * (length - len(one))
    two += [_ZERO] * (length - len(two))
    return (one > two) - (one < two) or (revision_a > revision_b) - (revision_a < revision_b)


def _parts(text: str) -> tuple[list[_Number], _Number]:
    parts: list[_Number] = []
    revision = _ZERO
    for found in _PART.finditer(text):
        if found["number"]:
            parts.append(_number(found["number"]))
        elif found["word"]:
            parts.append((_WORDS[found["word"].lower()], ""))
        elif found["letter"]:
            parts += [_ZERO, _number(str(ord(found["letter"].lower()) - ord("a") + 1))]
        else:
            revision = _number(found["revision"])
    return parts, revision


def _number(digits: str) -> _Number:
    digits = digits.lstrip("0")
    return len(digits), digits
