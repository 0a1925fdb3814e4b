"""The order of pacman's versions. Pure.

Source: vercmp(8), and lib/libalpm/version.c, an early rpmvercmp(): no `~` and `^`, and separators count.
"""

from __future__ import annotations

from rechunk_podman.patterns import compile_later

_SEGMENT = compile_later(r"([^0-9A-Za-z]*)([0-9]+|[A-Za-z]*)")


def compare_alpm(a: str, b: str) -> int:
    """Compare [EPOCH:]VERSION[-RELEASE]: -1, 0 or 1.

    A missing epoch is 0; releases are compared only if both sides have one.
    """
    if a == b:
        return 0
    (epoch_a, version_a, release_a), (epoch_b, version_b, release_b) = _split(a), _split(b)
    result = _compare(epoch_a, epoch_b) or _compare(version_a, version_b)
    if result or release_a is None or release_b is None:
        return result
    return _compare(release_a, release_b)


def _split(text: str) -> tuple[str, str, str | None]:
    digits = len(text) - len(text.lstrip("0123456789"))
    epoch = "0"
    if text[digits : digits + 1] == ":":
        epoch, text = text[:digits] or "0", text[digits + 1 :]
    version, dash, release = text.rpartition("-")
    return (epoch, version, release) if dash else (epoch, text, None)


def _compare(a: str, b: str) -> int:
    """Compare one part, segment by segment.

    A number is newer than letters; of equal segments, longer separators are newer; a rest of letters is
    older than the end, another rest newer.
    """
    if a == b:
        return 0
    at_a = at_b = 0
    while at_a < len(a) and at_b < len(b):
        left, right = _SEGMENT.match(a, at_a), _SEGMENT.match(b, at_b)
        assert left is not None  # noqa: S101 (both parts of the expression may be empty)
        assert right is not None  # noqa: S101
        at_a, at_b = left.end(1), right.end(1)
        if at_a == len(a) or at_b == len(b):
            break
        if len(left[1]) != len(right[1]):
            return _sign(len(left[1]), len(right[1]))
        if left[2].isdigit() != right[2].isdigit():
            return 1 if left[2].isdigit() else -1
        result = _segments(left[2], right[2])
        if result:
            return result
        at_a, at_b = left.end(), right.end()
    rest_a, rest_b = a[at_a:], b[at_b:]
    if not rest_a and not rest_b:
        return 0
    if (not rest_a and not _is_letter(rest_b)) or _is_letter(rest_a):
        return -1
    return 1


def _segments(a: str, b: str) -> int:
    if a.isdigit():
        a, b = a.lstrip("0"), b.lstrip("0")
        return _sign(len(a), len(b)) or _sign(a, b)
    return _sign(a, b)


def _is_letter(text: str) -> bool:
    return text[:1].isascii() and text[:1].isalpha()


def _sign(a: object, b: object) -> int:
    return (a > b) - (a < b)  # type: ignore[operator, no-any-return]
