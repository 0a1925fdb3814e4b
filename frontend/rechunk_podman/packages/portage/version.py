"""The order of Gentoo's versions. Pure.

Source: Package Manager Specification (PMS) 8, 3.2 "Version Specifications" and 3.3 "Version Comparison".
"""

from __future__ import annotations

from rechunk_podman.patterns import compile_later

_VERSION = compile_later(
    r"(?P<first>[0-9]+)(?P<rest>(?:\.[0-9]+)*)(?P<letter>[a-z]?)"
    r"(?P<suffixes>(?:_(?:alpha|beta|pre|rc|p)[0-9]*)*)(?:-r(?P<revision>[0-9]+))?\Z"
)
_SUFFIX = compile_later(r"_(alpha|beta|pre|rc|p)([0-9]*)")
_ORDER = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "p": 1}
"""Suffix -> its order; no suffix is 0."""
_NAME = compile_later(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9+_-]*?)-"
    r"(?P<version>[0-9]+(?:\.[0-9]+)*[a-z]?(?:_(?:alpha|beta|pre|rc|p)[0-9]*)*(?:-r[0-9]+)?)\Z"
)


def split_name(text: str) -> tuple[str, str]:
    """Return (name, version) of `NAME-VERSION`.

    Raises:
        ValueError: the text has no version.
    """
    found = _NAME.match(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} has no version")
    return found["name"], found["version"]


def compare_portage(a: str, b: str) -> int:
    """Return -1, 0 or 1 if `a` is older than, equal to or newer than `b`.

    A text that is no version is older than any; of two such texts the characters decide.
    """
    one, two = _VERSION.match(a), _VERSION.match(b)
    if one is None or two is None:
        return _sign(one is not None, two is not None) or _sign(a, b)
    result = _numbers(one["first"], two["first"])
    rest_a, rest_b = one["rest"].split(".")[1:], two["rest"].split(".")[1:]
    for left, right in zip(rest_a, rest_b, strict=False):
        result = result or _component(left, right)
    return (
        result
        or _sign(len(rest_a), len(rest_b))
        or _sign(one["letter"], two["letter"])
        or _suffixes(one["suffixes"], two["suffixes"])
        or _numbers(one["revision"] or "0", two["revision"] or "0")
    )


def _component(a: str, b: str) -> int:
    """Compare components after the first one: with a leading zero they are the digits of a fraction."""
    if a.startswith("0") or b.startswith("0"):
        return _sign(a.rstrip("0"), b.rstrip("0"))
    return _numbers(a, b)


def _suffixes(a: str, b: str) -> int:
    one, two = _SUFFIX.findall(a), _SUFFIX.findall(b)
    for (left, number_a), (right, number_b) in zip(one, two, strict=False):
        result = _sign(_ORDER[left], _ORDER[right]) or _numbers(number_a or "0", number_b or "0")
        if result:
            return result
    if len(one) > len(two):
        return _sign(_ORDER[one[len(two)][0]], 0)
    return _sign(0, _ORDER[two[len(one)][0]]) if len(two) > len(one) else 0


def _numbers(a: str, b: str) -> int:
    """Compare digits of any length; int() refuses very long ones."""
    a, b = a.lstrip("0"), b.lstrip("0")
    return _sign(len(a), len(b)) or _sign(a, b)


def _sign(a: object, b: object) -> int:
    return (a > b) - (a < b)  # type: ignore[operator, no-any-return]
