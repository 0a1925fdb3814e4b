"""Databases that are read ahead, by another thread, give the same assignment."""

import os

import pytest

from rechunk_podman.components.assign import assign
from rechunk_podman.components.preload import Ahead
from rechunk_podman.errors import DatabaseError
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers
from support.assigning import Result


@pytest.fixture
def top(tmp_path):
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    status = "Package: foo\nStatus: install ok installed\nVersion: 1-1\nArchitecture: all\n\n"
    (tmp_path / "var/lib/dpkg/status").write_text(status)
    (info / "foo.list").write_bytes(b"/.\n/usr\n/usr/bin\n/usr/bin/foo\n/usr/bin/\xff\n")
    (info / "foo.md5sums").write_text("d41d8cd98f00b204e9800998ecf8427e  usr/bin/foo\n")
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in (b"foo", b"\xff"):
        path = os.path.join(os.fsencode(tmp_path / "usr/bin"), name)
        with open(path, "wb"):
            pass
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path


@pytest.mark.parametrize("count", [1, 2])
def test_it_makes_no_difference(top, count):
    with Root(top) as root, Workers(count) as workers:
        tree = scan(root)
        plain = Result(tree, assign(root, tree))
        ahead = Ahead(root, workers)
        tree = scan(root, workers=workers)
        assert Result(tree, assign(root, tree, workers=workers, ahead=ahead)) == plain
    assert {"usr/bin/foo", "usr/bin/\udcff"} <= set(plain.paths["dpkg/foo"])


@pytest.mark.parametrize("count", [1, 2])
def test_a_broken_database_is_an_error(top, count):
    (top / "var/lib/dpkg/status").unlink()
    (top / "var/lib/dpkg/status").mkdir()
    with Root(top) as root, Workers(count) as workers:
        ahead = Ahead(root, workers)
        with pytest.raises(DatabaseError):
            assign(root, scan(root, workers=workers), workers=workers, ahead=ahead)


def test_none_is_none(tmp_path):
    (tmp_path / "etc").mkdir()
    with Root(tmp_path) as root, Workers(2) as workers:
        assert Ahead(root, workers).take() == {"rpm": None, "dpkg": None}
