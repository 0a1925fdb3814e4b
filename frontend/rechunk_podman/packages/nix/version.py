"""Names and the order of versions in Nix. Pure.

Source: the Nix manual, builtins.parseDrvName and builtins.compareVersions, and nix-env(1), `--upgrade`.
"""

from __future__ import annotations

from rechunk_podman.patterns import compile_later

_PART = compile_later(r"[0-9]+|[^0-9.-]+")
_VERSION = compile_later(r"-(?=[^A-Za-z])")


def split_name(text: str) -> tuple[str, str]:
    """Return (name, version): the version begins after the first dash that no letter follows."""
    name, *rest = _VERSION.split(text, maxsplit=1)
    return name, rest[0] if rest else ""


def compare_nix(a: str, b: str) -> int:
    """Return -1, 0 or 1 if `a` is older than, equal to or newer than `b`."""
    one, two = _PART.findall(a), _PART.findall(b)
    length = max(len(one), len(two))
    one += [""] * (length - len(one))
    two += [""] * (length - len(two))
    return next((result for result in map(_compare, one, two) if result), 0)


def _compare(a: str, b: str) -> int:
    """Compare components: `pre` before the end, the end and letters before numbers."""
    if a.isdigit() and b.isdigit():
        a, b = a.lstrip("0"), b.lstrip("0")
        return _sign((len(a), a), (len(b), b))
    return _sign(_key(a, b), _key(b, a))


def _key(part: str, other: str) -> tuple[int, str]:
    if part == "pre":
        return 0, ""
    if not part:
        # the end is older than a number only
        return (1, "") if other.isdigit() else (2, "")
    return (3, "") if part.isdigit() else (2, part)


def _sign(a: object, b: object) -> int:
    return (a > b) - (a < b)  # type: ignore[operator, no-any-return]
