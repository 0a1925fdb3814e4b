"""Files below a default ACL: layers state what they have, so that clients make them inherit nothing."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman.explain.files import read_tree_of, verify
from rechunk_podman.rootfs.acl import ACCESS, DEFAULT
from support.needs import needs_root, require
from support.oci_material import Layout, directory, make_tar, member
from support.tools import RECHUNK, Storage, private_storage, run

pytestmark = needs_root


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as linux/posix_acl_xattr.h has it: version 2, (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
NAMED = acl((1, 7, NOBODY), (2, 6, 1001), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY))
PLAIN = acl((1, 7, NOBODY), (4, 5, NOBODY), (32, 0, NOBODY))
OTHER = acl((1, 7, NOBODY), (4, 7, NOBODY), (8, 5, 1002), (16, 7, NOBODY), (32, 0, NOBODY))


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    require("podman", "skopeo", "umoci")
    with (
        tempfile.TemporaryDirectory(prefix="acl-", dir="/tmp") as folder,
        private_storage(Path(folder) / "s") as storage,
    ):
        yield storage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of every kind that were there before their directory got a default ACL, and one from after."""
    top = tmp_path / "root"
    (top / "a/sub/below").mkdir(parents=True)
    (top / "a/own").mkdir()
    (top / "b").mkdir()
    (top / "a/file").write_text("1")
    (top / "a/file").chmod(0o4755)
    (top / "a/sub/below/file").write_text("2")
    (top / "a/own/file").write_text("3")
    (top / "b/first").write_text("4")
    (top / "a/link").symlink_to("file")
    os.link(top / "a/file", top / "a/sub/hard")
    os.link(top / "b/first", top / "a/second")
    os.mkfifo(top / "a/fifo", 0o620)
    os.mknod(top / "a/null", 0o20666, os.makedev(1, 3))
    for path, value in (("a", NAMED), ("a/own", OTHER), ("b", PLAIN)):
        os.setxattr(top / path, DEFAULT, value)
    (top / "a/after").write_text("5")
    assert os.getxattr(top / "a/after", ACCESS) != b""
    return top


def unpacked(storage: Storage, layout: Path, place: Path) -> Iterator[str]:
    """The files as podman, and then as umoci unpacks them."""
    storage.copy(f"oci:{layout}:t", "containers-storage:localhost/acl:1")
    yield storage.run("podman", "image", "mount", "localhost/acl:1").out.strip()
    run("umoci", "unpack", "--image", f"{layout}:t", place)
    yield str(place / "rootfs")
    storage.run("podman", "image", "unmount", "--all")


def test_clients_unpack_the_same_acls(root, storage, tmp_path):
    layout = tmp_path / "layout"
    run(*RECHUNK, "build", "--rootfs", root, "--output", f"oci:{layout}:t")
    assert verify(read_tree_of(str(root)), read_tree_of(f"oci:{layout}")).entries == ()
    for place in unpacked(storage, layout, tmp_path / "bundle"):
        result = verify(read_tree_of(str(root)), read_tree_of(place))
        assert result.entries == ()
        for path in ("a/file", "a/sub", "a/sub/below/file", "a/second", "a/fifo"):
            assert not {ACCESS, DEFAULT} & set(os.listxattr(Path(place, path))), path
        assert ACCESS in os.listxattr(Path(place, "a/after"))


def test_what_layers_leave_to_inheritance_is_read_as_clients_make_it(storage, tmp_path):
    """The layers of other tools state no ACL: verify() reads from them what podman unpacks.

    umoci clears the attributes of what it made.
    """
    pax = {
        name: {f"SCHILY.xattr.{DEFAULT}": value.decode("utf-8", "surrogateescape")}
        for name, value in (("a", NAMED), ("b", PLAIN), ("own", OTHER))
    }
    layout = Layout(tmp_path / "layout")
    layout.layer(
        make_tar(
            [
                directory("a", pax=pax["a"]),
                member("a/file", data=b"1", mode=0o4751),
                directory("a/own", pax=pax["own"], mode=0o700),
                member("a/own/file", data=b"2", mode=0o640),
                directory("a/sub", mode=0o1777),
                directory("a/sub/below", mode=0o711),
                member("a/sub/below/file", data=b"3", mode=0o600),
                directory("b", pax=pax["b"]),
                directory("b/sub", mode=0o750),
                member("b/sub/file", data=b"4", mode=0o664),
            ]
        )
    )
    layout.entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    path = layout.finish()
    ours = read_tree_of(f"oci:{path}")
    assert (ACCESS, NAMED) not in ours.tree["a/file"].xattrs
    place = next(unpacked(storage, path, tmp_path / "bundle"))
    assert verify(ours, read_tree_of(place)).entries == ()
    assert {ACCESS, DEFAULT} <= set(os.listxattr(Path(place, "a/sub/below")))
    storage.run("podman", "image", "unmount", "--all")
