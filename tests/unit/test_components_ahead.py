"""Databases that are read ahead, in another process, give the same assignment."""

import os

import pytest

from rechunk_podman.components.ahead import Ahead
from rechunk_podman.components.assign import assign
from rechunk_podman.errors import DatabaseError
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan


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
    with Root(top) as root, Crew(root, count) as crew:
        plain = assign(root, scan(root))
        ahead = Ahead(crew)
        assert assign(root, scan(root, crew=crew), crew=crew, ahead=ahead) == plain
    (foo,) = (component for component in plain.components if component.id.name == "foo")
    assert {"usr/bin/foo", "usr/bin/\udcff"} <= set(foo.paths)


@pytest.mark.parametrize("count", [1, 2])
def test_a_broken_database_is_an_error(top, count):
    (top / "var/lib/dpkg/status").unlink()
    (top / "var/lib/dpkg/status").mkdir()
    with Root(top) as root, Crew(root, count) as crew:
        ahead = Ahead(crew)
        with pytest.raises(DatabaseError):
            assign(root, scan(root, crew=crew), crew=crew, ahead=ahead)


def test_none_is_none(tmp_path):
    (tmp_path / "etc").mkdir()
    with Root(tmp_path) as root, Crew(root, 2) as crew:
        assert Ahead(crew).take() == {"dpkg": None}
