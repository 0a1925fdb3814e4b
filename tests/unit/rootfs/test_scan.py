"""scan(): the tar rules that concern what is read; paths of a Tree."""

from __future__ import annotations

import logging
import os
import socket

import pytest

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.paths import canonical, canonicaliser
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers
from support.scanning import set_xattrs, tree_of


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    top.mkdir()
    return top


def test_every_kind_of_entry(top):
    (top / "dir").mkdir(mode=0o750)
    (top / "dir").chmod(0o1750)
    (top / "dir/file").write_text("12345")
    os.utime(top / "dir/file", ns=(0, -1))
    (top / "dir/setuid").write_text("")
    (top / "dir/setuid").chmod(0o4755)
    (top / "link").symlink_to("/somewhere/else")
    os.mkfifo(top / "fifo", 0o640)
    os.link(top / "dir/file", top / "hard")
    tree = tree_of(top)
    assert list(tree) == ["dir", "dir/file", "dir/setuid", "fifo", "hard", "link"]
    assert tree["dir"].kind is Kind.DIRECTORY
    assert tree["dir"].mode == 0o1750
    file = tree["dir/file"]
    assert (file.kind, file.size, file.mtime, file.uid) == (Kind.FILE, 5, -1, os.geteuid())
    assert tree["dir/setuid"].mode == 0o4755
    assert (tree["link"].kind, tree["link"].target, tree["link"].size) == (Kind.SYMLINK, "/somewhere/else", 0)
    assert tree["fifo"].kind is Kind.FIFO
    assert tree.links == {"hard": "dir/file"}
    assert tree.root.ino == top.stat().st_ino


def test_order_is_that_of_whole_paths(top):
    for name in ("a", "a/b", "ä"):
        (top / name).mkdir()
    for name in ("a-b", "a.b", "a/c", "Z"):
        (top / name).write_text("")
    with open(os.fsencode(top) + b"/\xff", "w"):
        pass
    assert list(tree_of(top)) == ["Z", "a", "a-b", "a.b", "a/b", "a/c", "ä", "\udcff"]


def test_symlinks_are_not_followed(top):
    (top / "loop").symlink_to(".")
    (top / "out").symlink_to("/")
    assert list(tree_of(top)) == ["loop", "out"]


def test_hard_links_are_grouped_after_pruning(top):
    (top / "gone").mkdir()
    (top / "gone/first").write_text("x")
    os.link(top / "gone/first", top / "kept")
    os.link(top / "gone/first", top / "too")
    assert tree_of(top).links == {"kept": "gone/first", "too": "gone/first"}
    assert tree_of(top, prune=["/gone"]).links == {"too": "kept"}


def test_xattrs_of_directories_and_the_root(top):
    (top / "dir").mkdir()
    set_xattrs(top / "dir", ["user.a"])
    set_xattrs(top, ["user.b"])
    tree = tree_of(top)
    assert tree["dir"].xattrs == (("user.a", b"value \xff\0"),)
    assert tree.root.xattrs == (("user.b", b"value \xff\0"),)


def test_an_xattr_name_with_an_equals_sign_is_an_error(top):
    (top / "file").write_text("")
    set_xattrs(top / "file", ["user.a=b"])
    with pytest.raises(RootfsError, match=r"/file .*user\.a=b"):
        tree_of(top)


@pytest.mark.parametrize("name", [".wh.gone", ".wh..wh..opq", ".wh."])
def test_whiteout_names_are_an_error(top, name):
    (top / "dir").mkdir()
    (top / "dir" / name).write_text("")
    with pytest.raises(RootfsError, match="whiteout") as caught:
        tree_of(top)
    assert f"/dir/{name}" in caught.value.message
    with pytest.raises(RootfsError, match="whiteout"):
        tree_of(top, skip_special_files=True)


def test_a_whiteout_directory_is_an_error(top):
    (top / ".wh.dir").mkdir()
    with pytest.raises(RootfsError, match=r"/\.wh\.dir"):
        tree_of(top)


def make_sockets(top, monkeypatch, names):
    monkeypatch.chdir(top)  # the name of a socket may hold 107 bytes
    for name in names:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)


def test_sockets_are_an_error_that_names_them(top, monkeypatch):
    make_sockets(top, monkeypatch, [f"s{number:02}" for number in range(12)])
    with pytest.raises(RootfsError) as caught:
        tree_of(top)
    assert "/s00, /s01" in caught.value.message
    assert "/s09 and 2 more" in caught.value.message
    assert "--skip-special-files" in caught.value.hint


def test_special_files_are_skipped_with_a_warning(top, monkeypatch, caplog):
    make_sockets(top, monkeypatch, ["socket"])
    os.mkfifo(top / "fifo")
    (top / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert list(tree_of(top, skip_special_files=True)) == ["file"]
    assert "skipped 2 special files: /fifo, /socket" in caplog.text


@pytest.fixture
def prunable(top):
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/b/c/file").write_text("")
    (top / "a/b2").write_text("")
    (top / "link").symlink_to("a/b")
    return top


@pytest.mark.parametrize(
    ("prune", "left"),
    [
        (["/a/b"], ["a", "a/b2", "link"]),
        (["/a/b/"], ["a", "a/b", "a/b2", "link"]),
        (["/a/b/c/"], ["a", "a/b", "a/b/c", "a/b2", "link"]),
        (["/a/b2", "/link"], ["a", "a/b", "a/b/c", "a/b/c/file"]),
        (["/a/", "/a"], ["link"]),
        (["/a", "/a/", "/a/b"], ["link"]),
        (["/link/c"], ["a", "a/b", "a/b2", "link"]),
        (["/link/"], ["a", "a/b", "a/b2", "link"]),
        (["//a///b2"], ["a", "a/b", "a/b/c", "a/b/c/file", "link"]),
        (["/a/../a/b2"], ["a", "a/b", "a/b/c", "a/b/c/file", "link"]),
    ],
)
def test_prune(prunable, prune, left):
    assert list(tree_of(prunable, prune=prune)) == left


@pytest.mark.parametrize("path", ["a", "", "/", "//", "./a"])
def test_prune_wants_an_absolute_path(prunable, path):
    with pytest.raises(UsageError):
        tree_of(prunable, prune=[path])


@pytest.mark.parametrize("path", ["/none", "/none/", "/a/none/x", "/a/b2/"])
def test_a_prune_path_that_names_nothing_is_a_warning(prunable, caplog, path):
    with caplog.at_level(logging.WARNING):
        assert len(tree_of(prunable, prune=[path])) == 6
    assert f"--prune {path}:" in caplog.text


def test_pruned_paths_may_hold_what_is_an_error(top):
    (top / "bad").mkdir()
    (top / "bad/.wh.x").write_text("")
    assert list(tree_of(top, prune=["/bad/"])) == ["bad"]


def test_canonical_paths(top):
    (top / "usr/lib/x86_64").mkdir(parents=True)
    (top / "usr/lib/x86_64/libc.so").write_text("")
    (top / "lib").symlink_to("usr/lib")
    (top / "lib64").symlink_to("/lib/x86_64")
    (top / "usr/up").symlink_to("../../../..")
    (top / "usr/lib/link").symlink_to("nowhere")
    (top / "loop").symlink_to("loop2")
    (top / "loop2").symlink_to("loop")
    tree = tree_of(top)
    resolve = canonicaliser(tree)
    for path, expected in {
        "/lib/x86_64/libc.so": "usr/lib/x86_64/libc.so",
        "/lib64/libc.so": "usr/lib/x86_64/libc.so",
        "lib64/libc.so": "usr/lib/x86_64/libc.so",
        "/usr/lib/x86_64/libc.so": "usr/lib/x86_64/libc.so",
        "/lib/link": "usr/lib/link",
        "/lib": "lib",
        "/usr/up/lib64/../x86_64/libc.so": "usr/lib/x86_64/libc.so",
        "/usr/lib/x86_64/": "usr/lib/x86_64",
        "/": "",
        "/lib/none": None,
        "/none/file": None,
        "/loop/file": None,
        "/usr/lib/x86_64/libc.so/file": None,
    }.items():
        assert canonical(tree, path) == expected, path
        assert resolve(path) == expected, path


def test_an_attribute_without_a_value_cannot_travel(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    os.setxattr(tmp_path / "file", "user.nothing", b"")
    os.setxattr(tmp_path / "file", "user.some", b"1")
    with Root(tmp_path) as root:
        tree = scan(root)
    assert tree["file"].xattrs == (("user.some", b"1"),)
    assert "without a value" in caplog.text
    assert "/file" in caplog.text


def test_workers_find_the_same(tmp_path):
    """Many directories, deep ones, all kinds of entries; the same Tree, hard links and all."""
    for number in range(60):
        folder = tmp_path / f"a/{number % 7}/{number}/b/c"
        folder.mkdir(parents=True)
        for name in range(60):
            (folder / f"file-{name}").write_text(str(name))
        (folder / "link").symlink_to("../file")
        os.link(folder / "file-1", tmp_path / f"hard-{number}")
        os.setxattr(folder / "file-2", "user.note", b"%d" % (number % 3))
    os.mkfifo(tmp_path / "a/fifo")
    with Root(tmp_path) as root:
        alone = scan(root, prune=("/a/3/3", "/a/4/"))
        with Workers(3) as workers:
            shared = scan(root, prune=("/a/3/3", "/a/4/"), workers=workers)
    assert len(alone) > 3000
    assert list(shared.items()) == list(alone.items())
    assert shared.links == alone.links
    assert shared.root == alone.root
    assert all(type(entry.kind) is Kind for _, entry in shared.items())


def test_workers_name_what_no_image_can_hold(tmp_path):
    for number in range(600):
        (tmp_path / f"a/{number}").mkdir(parents=True)
    (tmp_path / "a/17/.wh.x").touch()
    (tmp_path / "a/580/.wh.y").touch()
    with Root(tmp_path) as root, Workers(2) as workers, pytest.raises(RootfsError) as caught:
        scan(root, workers=workers)
    assert "/a/17/.wh.x, /a/580/.wh.y" in caught.value.message
