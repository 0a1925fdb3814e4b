"""scan() and Root on files that only root can make: devices, foreign owners, attributes of the system."""

from __future__ import annotations

import os
import stat

import pytest
import xattr

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.needs import needs_root
from support.scanning import set_xattrs, tree_of

pytestmark = needs_root


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    top.mkdir()
    return top


def test_devices_and_owners(top):
    os.mknod(top / "char", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top / "block", 0o600 | stat.S_IFBLK, os.makedev(259, 70000))
    os.chown(top / "char", 4_000_000_000, 7)
    tree = tree_of(top)
    assert (tree["char"].kind, tree["char"].rdev, tree["char"].uid) == (Kind.CHAR, (1, 3), 4_000_000_000)
    assert (tree["block"].kind, tree["block"].rdev) == (Kind.BLOCK, (259, 70000))


def test_a_device_is_not_opened(top):
    """open(2) of this one, which has no driver, fails with ENXIO."""
    os.mknod(top / "char", 0o600 | stat.S_IFCHR, os.makedev(240, 70000))
    with pytest.raises(OSError, match="No such device"):
        os.open(top / "char", os.O_RDONLY)
    with Root(top) as root, pytest.raises(RootfsError, match="/char is not a regular file"):
        root.read("char")


def test_xattrs_of_storage_and_machine_are_dropped(top):
    (top / "file").write_text("")
    set_xattrs(
        top / "file",
        [
            "user.overlay.opaque",
            "user.fuseoverlayfs.opaque",
            "user.containers.override_stat",
            "trusted.overlay.opaque",
            "user.kept",
            "user.component",
            "security.selinux",
        ],
    )
    names = [name for name, _ in tree_of(top)["file"].xattrs]
    assert names == ["user.component", "user.kept"]
    names = [name for name, _ in tree_of(top, keep_selinux=True)["file"].xattrs]
    assert names == ["security.selinux", "user.component", "user.kept"]
    assert dict(tree_of(top)["file"].xattrs)["user.kept"] == b"value \xff\0"


def test_xattrs_of_a_symlink_are_its_own(top):
    (top / "file").write_text("")
    set_xattrs(top / "file", ["user.of-the-target"])
    (top / "link").symlink_to("file")
    try:
        xattr.set(top / "link", "security.mine", b"1", nofollow=True)
    except OSError as error:
        pytest.skip(f"no xattrs on symlinks here: {error}")
    assert tree_of(top)["link"].xattrs == (("security.mine", b"1"),)


def test_a_device_0_0_is_an_error(top):
    os.mknod(top / "gone", stat.S_IFCHR, 0)
    with pytest.raises(RootfsError, match=r"whiteouts.*/gone"):
        tree_of(top)


def test_unreadable_directories_are_an_error(top):
    (top / "closed").mkdir(mode=0)
    top.chmod(0o755)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            root = Root(top)  # pytest's own folders are closed to others
            os.setuid(65534)
            try:
                scan(root)
            except RootfsError as error:
                os.write(writer, f"{error.message}\n{error.hint}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert "/closed: Permission denied" in said
    assert "buildah unshare" in said


def test_resolve_agrees_with_chroot(top):
    (top / "usr/lib/deep").mkdir(parents=True)
    (top / "etc").mkdir()
    (top / "usr/lib/file").write_text("inside")
    (top / "usr/lib/deep/other").write_text("other")
    links = {
        "a": "/usr/lib",
        "usr/b": "../../../etc",
        "c": "a/deep/..",
        "usr/lib/d": "/../../lib/./file",
        "e": "/",
    }
    for name, target in links.items():
        (top / name).symlink_to(target)
    paths = ["/a/file", "/usr/b", "/c", "/usr/lib/d", "/e/lib/file", "/..", "/a/../etc", "/c/deep/other"]
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.chroot(top)
            os.write(writer, "\n".join(map(os.path.realpath, paths)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        expected = file.read().split("\n")
    os.waitpid(pid, 0)
    with Root(top) as root:
        assert ["/" + root.resolve(path) for path in paths] == expected
