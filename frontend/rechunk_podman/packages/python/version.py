"""The order of Python versions. Pure. Source: PyPA's "Version specifiers" (PEP 440)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rechunk_podman.packages.versions import compare_rpm

if TYPE_CHECKING:
    from packaging.version import Version

_LONGEST = 250
"""Characters of the longest version: no name of a directory is longer."""


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1 by PEP 440; what is no version is older than any, and ordered as rpm does."""
    one, two = _parsed(a), _parsed(b)
    if one is None or two is None:
        return (one is not None) - (two is not None) or compare_rpm(a, b)
    return (one > two) - (one < two)


def _parsed(text: str) -> Version | None:
    from packaging.version import InvalidVersion, Version  # a build compares no versions

    try:
        return Version(text) if len(text) <= _LONGEST else None
    except InvalidVersion:
        return None
