"""Overlay stores inside an image and below it: marks that no layer can hold, names that are absent."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman.errors import RootfsError
from rechunk_podman.explain.files import read_tree_of, verify
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.needs import needs_root, require
from support.oci_material import Layout, directory, make_tar, member
from support.tools import Storage, private_storage, run

pytestmark = needs_root


@pytest.fixture(scope="module", params=["overlay", "vfs"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    require("podman", "skopeo")
    with (
        tempfile.TemporaryDirectory(prefix="marks-", dir="/tmp") as folder,
        private_storage(Path(folder) / "s", request.param) as storage,
    ):
        yield storage


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """An overlay mount with `d`, opaque, with a whiteout of a name that no lower layer has."""
    for name in ("lower", "upper/d", "work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "upper/d/file").write_text("x")
    os.mknod(tmp_path / "upper/d/old", 0o20000, 0)
    os.setxattr(tmp_path / "upper/d", "trusted.overlay.opaque", b"y")
    merged = tmp_path / "merged"
    lower = f"lowerdir={tmp_path}/upper:{tmp_path}/lower"
    if run("mount", "-t", "overlay", "overlay", "-o", lower, merged, check=False).code:
        pytest.skip("no overlay can be mounted here")
    assert os.listdir(merged / "d") == ["old", "file"] or sorted(os.listdir(merged / "d")) == ["file", "old"]
    try:
        yield merged
    finally:
        run("umount", merged)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted.overlay.opaque", b"y"),
        ("user.overlay.opaque", b"y"),
        ("user.overlay.opaque", b"x"),
        ("user.fuseoverlayfs.opaque", b"y"),
        ("trusted.overlay.redirect", b"/other"),
        ("trusted.overlay.metacopy", b""),
        ("user.overlay.whiteout", b""),
    ],
)
def test_a_store_that_would_get_deleted_files_back_is_refused(tmp_path, name, value):
    root, bare = tmp_path / "root", tmp_path / "bare"
    store = root / "srv/store/diff/etc"
    store.mkdir(parents=True)
    shutil.copytree(root, bare)
    os.setxattr(store, name, value)
    with Root(root) as opened:
        with pytest.raises(RootfsError, match=r"marks of overlay storage .*/srv/store/diff/etc"):
            scan(opened)
        assert "srv/store" not in scan(opened, prune=["/srv/store"])
    (difference,) = verify(read_tree_of(str(root)), read_tree_of(str(bare))).entries
    assert (difference.path, difference.what) == ("srv/store/diff/etc", "xattrs")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted.overlay.origin", b"\0\xfb"),
        ("trusted.overlay.impure", b"y"),
        ("user.overlay.opaque", b"n"),
        ("user.containers.override_stat", b"0:0:0755"),
    ],
)
def test_other_marks_are_left_out_with_a_warning(tmp_path, caplog, name, value):
    root, bare = tmp_path / "root", tmp_path / "bare"
    (root / "store").mkdir(parents=True)
    bare.mkdir()
    (bare / "store").mkdir()
    os.setxattr(root / "store", name, value)
    with Root(root) as opened:
        assert scan(opened)["store"].xattrs == ()
    assert [text.endswith("left out at /store") for text in warnings(caplog)] == [True]
    assert not verify(read_tree_of(str(root)), read_tree_of(str(bare))).same


def test_names_that_an_overlay_lists_and_does_not_find_are_skipped(mount, caplog):
    with Root(mount) as root:
        assert list(scan(root)) == ["d", "d/file"]
        assert root.names("d") == ["file"]
    (text,) = warnings(caplog)
    assert text.endswith(": /d/old")


def test_marks_and_whiteouts_of_the_storage_below_are_none_of_the_image(tmp_path, storage, caplog):
    """An image whose upper layer replaces a directory, and deletes in it what was never there."""
    layout = Layout(tmp_path / "image")
    layout.layer(make_tar([directory("d"), member("d/keep", data=b"1")]))
    layout.layer(
        make_tar([directory("d"), member("d/.wh..wh..opq"), member("d/.wh.old"), member("d/new", data=b"2")])
    )
    image = f"oci:{layout.finish()}"
    storage.copy(image, "containers-storage:localhost/marks:1")
    with storage.mounted("localhost/marks:1") as top:
        with Root(top) as root:
            assert list(scan(root)) == ["d", "d/new"]
        assert not any("marks" in text for text in warnings(caplog))
        assert verify(read_tree_of(image), read_tree_of(str(top))).same
