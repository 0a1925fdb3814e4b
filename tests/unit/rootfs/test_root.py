"""Root: nothing below it leaves it."""

from __future__ import annotations

import os
import socket

import pytest

from rechunk_podman.errors import RootfsError
from rechunk_podman.rootfs.root import Root


@pytest.fixture
def top(tmp_path):
    """A root filesystem with a secret beside it."""
    (tmp_path / "secret").write_text("host")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("host")
    top = tmp_path / "root"
    (top / "usr/lib/deep").mkdir(parents=True)
    (top / "etc").mkdir()
    (top / "usr/lib/file").write_text("inside")
    (top / "usr/lib/deep/other").write_text("other")
    (top / "lib").symlink_to("usr/lib")
    return top


@pytest.fixture
def root(top):
    with Root(top) as root:
        yield root


def test_reads_a_file(root):
    assert root.read("usr/lib/file") == b"inside"
    assert root.read("usr/lib/deep/other") == b"other"
    assert root.read("usr/lib/file") == b"inside"


@pytest.mark.parametrize("target", ["../secret", "/secret", "../../../../secret"])
def test_a_symlink_is_never_followed_by_open(top, root, target):
    (top / "link").symlink_to(target)
    (top.parent / "root/usr/up").symlink_to("..")
    with pytest.raises(RootfsError, match="/link"):
        root.read("link")
    with pytest.raises(RootfsError):
        root.read("usr/up/usr/lib/file")


@pytest.mark.parametrize(
    "path", ["../secret", "usr/../../secret", "usr/./lib/file", "usr//lib/file", "..", ""]
)
def test_only_canonical_paths_are_opened(root, path):
    with pytest.raises(RootfsError):
        root.read(path)


def test_a_directory_that_becomes_a_symlink_does_not_lead_out(top, root):
    assert root.read("usr/lib/file") == b"inside"
    (top / "usr/lib").rename(top / "moved")
    (top / "usr/lib").symlink_to(top.parent / "outside")
    root.read("usr/lib/file")  # the handle is still that of the directory itself
    with Root(top) as fresh, pytest.raises(RootfsError, match="/usr/lib"):
        fresh.read("usr/lib/file")


def test_only_regular_files_are_opened(top, root):
    os.mkfifo(top / "fifo")
    for path in ("fifo", "usr/lib", "lib"):
        with pytest.raises(RootfsError, match="/" + path):
            root.open(path)


def test_a_socket_is_not_opened(top, root):
    """open(2) of a socket fails with ENXIO; that of a device might have an effect."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
    with pytest.raises(RootfsError, match="/socket is not a regular file"):
        root.open("socket")


def test_missing_files_and_the_limit(root):
    with pytest.raises(RootfsError, match="/usr/lib/none: No such file") as caught:
        root.read("usr/lib/none")
    assert caught.value.hint
    assert root.read("usr/lib/file", limit=6) == b"inside"
    with pytest.raises(RootfsError, match="more than 5 bytes"):
        root.read("usr/lib/file", limit=5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/usr/lib", "usr/lib/file"),
        ("usr/lib", "usr/lib/file"),
        ("../../../usr/lib", "usr/lib/file"),
        ("/lib", "usr/lib/file"),
        ("/../outside", "outside/file"),
        ("/nowhere/../usr", "usr/file"),
    ],
)
def test_resolve_follows_links_as_chroot_would(top, root, target, expected):
    (top / "link").symlink_to(target)
    assert root.resolve("/link/file") == expected
    assert root.resolve("link/./deep/../file") == expected


def test_loops_are_an_error(top, root):
    (top / "x").symlink_to("y")
    (top / "y").symlink_to("/x")
    with pytest.raises(RootfsError, match="loop"):
        root.resolve("x/file")
    assert root.resolve_or_keep("/x/file") == "x/file"
    assert root.names(root.resolve_or_keep("x")) == []


def test_stat_and_readlink(top, root):
    assert root.stat("lib").st_ino == os.lstat(top / "lib").st_ino
    assert root.stat("").st_ino == top.stat().st_ino
    assert root.stat("usr/lib").st_ino == (top / "usr/lib").stat().st_ino
    assert root.readlink("lib") == "usr/lib"
    with pytest.raises(RootfsError):
        root.readlink("etc")


def test_handles_are_closed(top):
    before = len(os.listdir("/proc/self/fd"))
    with Root(top) as root:
        root.read("usr/lib/deep/other")
        root.read("usr/lib/file")
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_root(tmp_path):
    with pytest.raises(RootfsError, match="none"):
        Root(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(RootfsError, match="file"):
        Root(tmp_path / "file")
