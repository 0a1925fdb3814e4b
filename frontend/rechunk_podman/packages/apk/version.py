"""The order of apk's versions. Pure.

Source: apk-package(5), "PACKAGE VERSION", and the function apk_version_compare() of apk-tools 3:
NUMBER{.NUMBER}[LETTER]{_SUFFIX[NUMBER]}[~HASH][-rNUMBER].
"""

from __future__ import annotations

import re

from rechunk_podman.patterns import compile_later

_TOKEN = compile_later(
    r"\.?(?P<number>[0-9]+)|(?P<letter>[a-z])|_(?P<suffix>[a-z]+)|~(?P<hash>[0-9a-f]+)|-r(?P<revision>[0-9]+)"
)
_SUFFIXES = {
    **dict(zip(("alpha", "beta", "pre", "rc"), range(-4, 0), strict=True)),
    **dict(zip(("cvs", "svn", "git", "hg", "p"), range(1, 6), strict=True)),
}
"""Suffix -> its order; those below 0 are older than no suffix."""

FIRST, NUMBER, LETTER, SUFFIX, SUFFIX_NUMBER, HASH, REVISION, END, INVALID = range(9)
"""The kinds of tokens, in the order in which a version has them."""

_Token = tuple[int, int | str, str]
"""(kind, value, text)"""


def compare_apk(a: str, b: str) -> int:
    """Return -1, 0 or 1 if `a` is older than, equal to or newer than `b`.

    Of a text that is no version the part before the first wrong character counts.
    """
    one, two = _tokens(a), _tokens(b)
    for left, right in zip(one, two, strict=False):
        if left[0] != right[0]:
            break
        result = _compare_tokens(left, right)
        if result:
            return result
    else:
        return 0
    if left[0] == SUFFIX and _is_before(left):
        return -1
    if right[0] == SUFFIX and _is_before(right):
        return 1
    # the kinds at the front of the list are those that a longer version has
    return -1 if left[0] > right[0] else 1


def _is_before(token: _Token) -> bool:
    return isinstance(token[1], int) and token[1] < 0


def _compare_tokens(left: _Token, right: _Token) -> int:
    one, two = left[1], right[1]
    # a fraction is compared digit by digit
    if left[0] == NUMBER and (left[2].startswith("0") or right[2].startswith("0")):
        one, two = left[2], right[2]
    return (one > two) - (one < two)  # type: ignore[operator]


def _tokens(text: str) -> list[_Token]:
    """Return the tokens of a version, with END or INVALID as the last one."""
    tokens: list[_Token] = []
    kind, at = -1, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        following = INVALID if found is None else _kind(found, kind, text[at])
        if found is None or following == INVALID:
            return [*tokens, (INVALID, 0, "")]
        kind, at = following, found.end()
        content = next(group for group in found.groups() if group is not None)
        tokens.append((kind, _value(kind, content), content))
    return [*tokens, (END, 0, "") if tokens else (INVALID, 0, "")]


def _kind(found: re.Match[str], before: int, first: str) -> int:
    """Return the kind of a token, INVALID if it may not follow the kind `before` (-1: it is the first)."""
    if before == -1:
        return FIRST if first.isdigit() else INVALID
    if found["number"]:
        if before <= NUMBER:
            return NUMBER if first == "." else INVALID
        return SUFFIX_NUMBER if before == SUFFIX and first != "." else INVALID
    if found["letter"]:
        return LETTER if before <= NUMBER else INVALID
    if found["suffix"]:
        return SUFFIX if before <= SUFFIX_NUMBER and found["suffix"] in _SUFFIXES else INVALID
    if found["hash"]:
        return HASH if before < HASH else INVALID
    return REVISION if before < REVISION else INVALID


def _value(kind: int, text: str) -> int | str:
    if kind == SUFFIX:
        return _SUFFIXES[text]
    if kind in (LETTER, HASH):
        return text
    # int() refuses very long numbers; apk counts in 64 bits
    return int(text.lstrip("0")[:20] or "0") if len(text.lstrip("0")) <= 20 else 1 << 64
