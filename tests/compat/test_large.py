"""A file of more than 8 GiB, for real: a minute of processor time, so not with every run of the tests."""

from __future__ import annotations

from pathlib import Path

from rechunk_podman.oci.validate.image import validate
from support import tools


def test_more_than_8_gib(tmp_path: Path) -> None:
    """A size that no octal field of a tar header holds; the hole is expanded, as every client does."""
    root, layout = tmp_path / "root", tmp_path / "layout"
    root.mkdir()
    size = (8 << 30) + 513
    with (root / "large").open("wb") as file:
        file.truncate(size)
    options = ("--compression", "zstd", "--compression-level", "1")
    tools.run(*tools.RECHUNK, "build", "--rootfs", root, "--output", f"oci:{layout}", *options)
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    assert f" {size} " in tools.run("sh", "-c", f"zstd -dcq < {largest} | tar -tv --numeric-owner").out
    validate(f"oci:{layout}").check()
