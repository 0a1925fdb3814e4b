"""The order of npm's versions. Pure. Source: Semantic Versioning 2.0.0, section 11."""

from __future__ import annotations

import re

from rechunk_podman.packages.versions import compare_digits, compare_rpm
from rechunk_podman.patterns import compile_later

_VERSION = compile_later(r"[v=\s]*(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z", re.ASCII)


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1; what is no version is older than any, and ordered as rpm does."""
    one, two = _VERSION.match(a), _VERSION.match(b)
    if one is None or two is None:
        return (one is not None) - (two is not None) or compare_rpm(a, b)
    for group in (1, 2, 3):
        result = compare_digits(one[group], two[group])
        if result:
            return result
    return _compare_prereleases(one[4] or "", two[4] or "")


def _compare_prereleases(a: str, b: str) -> int:
    """Compare what follows the dash; nothing is newer than anything."""
    if not (a and b):
        return (not a) - (not b)
    one, two = a.split("."), b.split(".")
    for left, right in zip(one, two, strict=False):
        if left == right:
            continue
        if left.isdigit() and right.isdigit():
            result = compare_digits(left, right)
            if result:
                return result
        elif left.isdigit() != right.isdigit():
            return -1 if left.isdigit() else 1
        else:
            return 1 if left > right else -1
    return (len(one) > len(two)) - (len(one) < len(two))
