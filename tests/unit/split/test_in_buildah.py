"""The command line for each generation of buildah."""

from __future__ import annotations

import pytest

from rechunk_podman.split.in_buildah import build_command

TAG = "localhost/x:y"


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ((1, 28, 2), "/run/src"),
        ((1, 43, 2), "/run/src"),
        ((1, 44), "/run/rechunk-podman-context"),
        ((1, 50, 1), "/run/rechunk-podman-context"),
    ],
)
def test_the_context_is_mounted_where_the_version_needs_it(found: tuple[int, ...], place: str) -> None:
    command = build_command(TAG, "/c", chunker="localhost/chunker", pull=False, found=found)
    assert f"--volume=/c:{place}" in command


def test_stages_run_in_order_uncached_and_nothing_is_fetched() -> None:
    command = build_command(TAG, "/c", chunker="localhost/chunker", pull=False, found=(1, 28, 2))
    assert command[:2] == ["buildah", "build"]
    assert {"--layers=false", "--skip-unused-stages=false", "--jobs=1", "--pull=never"} <= set(command)
    assert "--tag=localhost/x:y" in command
    assert "--pull=false" in build_command(TAG, "/c", chunker="c", pull=True, found=(1, 28, 2))
