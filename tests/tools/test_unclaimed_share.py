"""Of a real image at most one per cent belongs to nobody, and `components` says which files these are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import debian, rpm
from images.cache import MissingTool, unpack
from support.needs import needs_root, unavailable
from support.updates import command

pytestmark = needs_root

MAY_BE = ("/etc/", "/root/", "/usr/share/info/dir", "/var/cache/ldconfig/", "/var/lib/", "/var/log/")
"""Made at the installation: accounts, certificates, ld.so.cache, state of systemd, PAM and Python."""


@pytest.mark.parametrize("image", [debian.tar, rpm.tar], ids=("dpkg", "rpm"))
def test_little_of_a_real_image_belongs_to_nobody(image, tmp_path: Path) -> None:
    try:
        archive = image({debian.tar: "release", rpm.tar: "base"}[image])
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    unpack(archive, tmp_path)
    found = json.loads(command("components", "--json", tmp_path))
    assert found["size"] > 150_000_000
    assert 0 < found["unclaimed"]["share"] < 0.01
    files = found["unclaimed"]["files"]
    assert {file["path"] for file in files if not file["path"].startswith(MAY_BE)} == set()
    assert sum(file["size"] for file in files) >= 0.99 * found["unclaimed"]["size"]
    for file in files:
        assert (tmp_path / file["path"][1:]).lstat().st_size == file["size"]
