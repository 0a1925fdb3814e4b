"""Databases that are read ahead, in another process, give the same assignment; failures cost nothing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from rechunk_podman.components.ahead import read_ahead
from rechunk_podman.components.assign import assign
from rechunk_podman.errors import DatabaseError
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


def test_it_makes_no_difference(top):
    with Root(top) as root:
        plain = assign(root, scan(root))
        with read_ahead(root) as ahead:
            assert ahead is not None
            other = assign(root, scan(root), ahead=ahead)
    assert other == plain
    (foo,) = (component for component in plain.components if component.id.name == "foo")
    assert {"usr/bin/foo", "usr/bin/\udcff"} <= set(foo.paths)


def test_nothing_stays_behind_when_the_scan_fails(top):
    child = 0
    with Root(top) as root, contextlib.suppress(ZeroDivisionError), read_ahead(root) as ahead:
        child = ahead._process
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_child_that_dies_costs_nothing(top):
    with Root(top) as root, read_ahead(root) as ahead:
        os.kill(ahead._process, signal.SIGKILL)
        dead = assign(root, scan(root), ahead=ahead)
        assert dead == assign(root, scan(root))


def test_an_error_is_met_by_whoever_needs_the_database(top):
    (top / "var/lib/dpkg/status").unlink()
    (top / "var/lib/dpkg/status").mkdir()
    with Root(top) as root, read_ahead(root) as ahead, pytest.raises(DatabaseError):
        assign(root, scan(root), ahead=ahead)


def test_not_where_threads_forbid_a_fork(top):
    with Root(top) as root, read_ahead(root, enabled=False) as ahead:
        assert ahead is None


def test_a_parent_that_is_killed_leaves_no_process(repository, top):
    info = top / "var/lib/dpkg/info/foo.list"
    # more than a pipe holds
    info.write_bytes(b"".join(b"/usr/bin/%060d\n" % number for number in range(5_000)))
    script = (
        "import os, signal, sys\n"
        "from rechunk_podman.components.ahead import read_ahead\n"
        "from rechunk_podman.rootfs.root import Root\n"
        "with Root(sys.argv[1]) as root, read_ahead(root):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # Whoever is left holds standard output open, and so the end of it up.
    done = subprocess.run(
        [sys.executable, "-c", script, top],
        env={**os.environ, "PYTHONPATH": str(repository / "frontend")},
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
