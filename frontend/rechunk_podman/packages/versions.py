"""The order of package versions. Pure.

Sources: deb-version(7) and Debian Policy 5.6.12; rpm-version(7), "Comparison" (tilde since rpm 4.10, caret
since 4.15). apk and pacman versions are compared as rpm's, of whose algorithm pacman's is a descendant
(vercmp(8)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cmp_to_key

from rechunk_podman.patterns import compile_later

MOST_VERSIONS = 16
"""The largest number of versions (the newest) of a component: the texts in a Ledger are limited in length."""

_SEGMENT = compile_later(r"~|\^|[0-9]+|[A-Za-z]+")
_RUN = compile_later(r"(\D*)(\d*)", re.ASCII)


def join_versions(versions: Iterable[str], compare: Callable[[str, str], int]) -> str:
    """Return the different versions, the newest last: at most MOST_VERSIONS, separated by spaces."""
    # equal versions are sorted by their characters
    found = sorted({version for version in versions if version})
    found.sort(key=cmp_to_key(compare))
    return " ".join(found[-MOST_VERSIONS:])


def newest(versions: str) -> str:
    """Return the newest version of a text that join_versions() returned."""
    return versions.rpartition(" ")[2]


def compare_rpm(a: str, b: str) -> int:
    """Compare [EPOCH:]VERSION[-RELEASE]: -1, 0 or 1.

    A missing epoch is 0; releases are compared only if both sides have one.
    """
    (epoch_a, version_a, release_a), (epoch_b, version_b, release_b) = _evr(a), _evr(b)
    result = compare_digits(epoch_a, epoch_b) or rpmvercmp(version_a, version_b)
    if result or not (release_a and release_b):
        return result
    return rpmvercmp(release_a, release_b)


def _evr(text: str) -> tuple[str, str, str]:
    epoch, colon, rest = text.partition(":")
    if not (colon and epoch.isdecimal() and epoch.isascii()):
        epoch, rest = "0", text
    version, dash, release = rest.rpartition("-")
    return epoch, version if dash else rest, release if dash else ""


def rpmvercmp(a: str, b: str) -> int:
    """Compare one component (version or release) segment by segment: -1, 0 or 1.

    Segments are runs of digits or of letters; everything else separates them. A number is newer than
    letters, more segments are newer than fewer; `~` is older than anything, even than the end; `^` is newer
    than the end and older than anything else.
    """
    if a == b:
        return 0
    one, two = _SEGMENT.findall(a), _SEGMENT.findall(b)
    for left, right in zip(one, two, strict=False):
        if left == right:
            continue
        for operator in ("~", "^"):
            if left == operator or right == operator:
                return -1 if left == operator else 1
        if left.isdigit() != right.isdigit():
            return 1 if left.isdigit() else -1
        result = compare_digits(left, right) if left.isdigit() else _sign(left, right)
        if result:
            return result
    if len(one) == len(two):
        return 0
    longer, sign = (one, 1) if len(one) > len(two) else (two, -1)
    return -sign if longer[min(len(one), len(two))] == "~" else sign


def compare_dpkg(a: str, b: str) -> int:
    """Compare [EPOCH:]UPSTREAM[-REVISION]: -1, 0 or 1.

    A missing revision is older than any other, but equal to -0.
    """
    (epoch_a, version_a, release_a), (epoch_b, version_b, release_b) = _evr(a), _evr(b)
    return (
        compare_digits(epoch_a, epoch_b) or verrevcmp(version_a, version_b) or verrevcmp(release_a, release_b)
    )


def verrevcmp(a: str, b: str) -> int:
    """Compare one part, runs of non-digits and runs of digits in turn: -1, 0 or 1.

    Non-digits: `~` before the end, the end before letters, letters before the rest, by their codes.
    """
    at_a = at_b = 0
    while at_a < len(a) or at_b < len(b):
        left, right = _RUN.match(a, at_a), _RUN.match(b, at_b)
        assert left is not None  # noqa: S101 (both parts of the expression may be empty)
        assert right is not None  # noqa: S101
        result = _sign([*map(_order, left[1]), 0], [*map(_order, right[1]), 0])
        result = result or compare_digits(left[2], right[2])
        if result:
            return result
        at_a, at_b = left.end(), right.end()
    return 0


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) + (0 if character.isascii() and character.isalpha() else 0x110000)


def compare_digits(a: str, b: str) -> int:
    """Compare digits of any length; int() refuses very long ones."""
    a, b = a.lstrip("0"), b.lstrip("0")
    return _sign(len(a), len(b)) or _sign(a, b)


def _sign(a: object, b: object) -> int:
    return (a > b) - (a < b)  # type: ignore[operator, no-any-return]
