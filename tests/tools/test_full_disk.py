"""Outputs on a small file system that runs full: a tmpfs is mounted, so these tests need root."""

from __future__ import annotations

import errno
import subprocess

import pytest

from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.write.reserve import reserve
from support.needs import needs_root
from support.writing import make_sizes, write

pytestmark = needs_root


@pytest.fixture
def top(tmp_path):
    return make_sizes(tmp_path / "top")


@pytest.fixture
def place(tmp_path):
    """Return an empty directory for output."""
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["oci:image", "oci-archive:image", "docker-archive:image"])
def test_a_full_disk(top, place, name, threads):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    try:
        kind, _, path = name.partition(":")
        with pytest.raises(RechunkError, match="No space left") as caught:
            write(top, f"{kind}:{place}/{path}", threads=threads)
        assert "free some space" in caught.value.hint
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_room_is_said_at_once(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        with open(tmp_path / "file", "w+b") as file, pytest.raises(OSError) as caught:  # noqa: PT011
            reserve(file.fileno(), 0, 1 << 20)
        assert caught.value.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", tmp_path], check=True)
