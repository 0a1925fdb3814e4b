"""The version is parsed from the output of buildah."""

from __future__ import annotations

import pytest

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.buildah import parse_version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)", (1, 28, 2)),
        ("buildah version 1.44.0-dev (image-spec 1.1.1, runtime-spec 1.2.1)", (1, 44, 0)),
        ("buildah version 1.43", (1, 43)),
    ],
)
def test_parse_version(text: str, expected: tuple[int, ...]) -> None:
    assert parse_version(text) == expected


def test_no_version() -> None:
    with pytest.raises(ToolError):
        parse_version("something else")
