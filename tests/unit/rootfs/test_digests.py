"""The digests of all files are those of their contents, in whichever thread they were read."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from rechunk_podman.errors import RootfsError
from rechunk_podman.rootfs import digests
from rechunk_podman.rootfs.digests import digests_of
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers


@pytest.fixture
def top(tmp_path):
    (tmp_path / "folder").mkdir()
    for number in range(50):
        (tmp_path / f"folder/{number}").write_bytes(b"%d" % number * (number * 1000))
    (tmp_path / "alias").hardlink_to(tmp_path / "folder/7")
    (tmp_path / "link").symlink_to("folder/7")
    return tmp_path


@pytest.mark.parametrize("batch", [1 << 20, 1000])
def test_each_file_and_hard_link(top, monkeypatch, batch):
    monkeypatch.setattr(digests, "_BATCH", batch)
    with Root(str(top)) as root, Workers(2) as workers:
        found = digests_of(root, scan(root), workers)
    files = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    assert found == {str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).digest() for path in files}


def test_all_workers_read(top, monkeypatch):
    monkeypatch.setattr(digests, "_BATCH", 100_000)
    both = threading.Barrier(2, timeout=60)
    once = iter([both.wait, both.wait])
    read = digests._digest

    def meeting(root, files):
        next(once, int)()
        return read(root, files)

    monkeypatch.setattr(digests, "_digest", meeting)
    with Root(str(top)) as root, Workers(2) as workers:
        assert len(digests_of(root, scan(root), workers)) == 51


def test_a_file_that_changes_after_the_scan(top):
    with Root(str(top)) as root, Workers(2) as workers:
        tree = scan(root)
        os.truncate(top / "folder/9", 1)
        with pytest.raises(RootfsError, match="changed"):
            digests_of(root, tree, workers)
