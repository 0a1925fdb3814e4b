"""Databases that are read ahead, by another thread, give the same assignment."""

import gzip
import os
import re
import sqlite3
from contextlib import closing

import pytest

from faults import bombs
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.components.assign import assign
from rechunk_podman.components.preload import Databases
from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers
from support.assigning import Result, make


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
        databases = Databases(root, workers)
        tree = scan(root, workers=workers)
        assert Result(tree, assign(root, tree, workers=workers, databases=databases)) == plain
    assert {"usr/bin/foo", "usr/bin/\udcff"} <= set(plain.paths["dpkg/foo"])


def test_none_is_none(tmp_path):
    (tmp_path / "etc").mkdir()
    with Root(tmp_path) as root, Workers(2) as workers:
        databases = Databases(root, workers)
        assert {databases.load(ecosystem, ()) for ecosystem in ECOSYSTEMS} == {None}


def no_status(top):
    (top / "var/lib/dpkg/status").unlink()
    (top / "var/lib/dpkg/status").mkdir()
    return "/var/lib/dpkg/status"


def huge_status(top):
    bombs.dpkg_many_packages(top)
    return "/var/lib/dpkg"


def no_sqlite(top):
    make(top, {bombs.SQLITE: "SQLite format 3\0" + "nonsense" * 500})
    return f"/{bombs.SQLITE}"


def no_table(top):
    (top / bombs.SQLITE).parent.mkdir(parents=True)
    with closing(sqlite3.connect(top / bombs.SQLITE)) as connection, connection:
        connection.execute("CREATE TABLE Other (x)")
    (top / "var/lib").mkdir(parents=True, exist_ok=True)
    (top / "var/lib/rpm").symlink_to("../../usr/lib/sysimage/rpm")
    return f"/{bombs.SQLITE}"


def no_ndb(top):
    make(top, {bombs.NDB: "RpmP"})
    return f"/{bombs.NDB}"


def no_bdb(top):
    make(top, {bombs.BDB: "nonsense" * 200})
    return f"/{bombs.BDB}"


@pytest.fixture(params=[no_status, huge_status, no_sqlite, no_table, no_ndb, no_bdb])
def broken(request, top):
    """A root filesystem with a broken database, and its path for messages."""
    return top, request.param(top)


def planned(top, **options):
    return plan_only(Source(str(top)), BuildOptions(threads=2, **options))


def test_files_are_placed_without_a_broken_database(broken, caplog):
    top, path = broken
    prepared = planned(top)
    (record,) = caplog.records
    assert path in record.getMessage()
    assert "--strict" in record.getMessage()
    idents = {str(component.id) for component in prepared.assignment.components}
    assert ("dpkg/foo" in idents) is ("dpkg" not in path)
    assert f"database/{'dpkg' if 'dpkg' in path else 'rpm'}" in idents


def test_the_hint_of_strict_is_a_way_out(broken, caplog):
    """If the path of the hint is pruned, it is not opened, and the rest of the image stays the same."""
    top, path = broken
    with pytest.raises(DatabaseError, match=path) as caught:
        planned(top, strict=True)
    prune = re.findall(r"--prune (/[^ )]*)", caught.value.hint)
    assert prune
    caplog.clear()
    prepared = planned(top, strict=True, prune=prune)
    assert not caplog.records
    assert not any(f"/{found}".startswith(path) for found in prepared.tree)
    assert "usr/bin/foo" in prepared.tree


@pytest.mark.parametrize("pruned", ["/var/lib/rpm", "/var/lib/rpm/", "/var", "/usr/lib/sysimage/", "/usr"])
def test_what_is_pruned_is_not_opened(tmp_path, pruned, caplog):
    """A pruned database is not opened by its other name either, to which a symlink leads."""
    no_table(tmp_path)
    prepared = planned(tmp_path, prune=[pruned])
    is_there = bombs.SQLITE in prepared.tree
    assert len(caplog.records) == is_there
    assert is_there is (pruned in ("/var/lib/rpm", "/var"))


def test_a_pruned_changelog_still_tells_the_build_time(top):
    """The files of a component stay the same: a changelog is no database."""
    log = gzip.compress(b"foo (1-1)\n\n -- A <a@b>  Thu, 01 Jan 2015 00:00:00 +0000\n")
    make(top, {"usr/share/doc/foo/changelog.Debian.gz": log})
    (foo,) = (c for c in planned(top, prune=["/usr/share/doc"]).assignment.components if c.id.name == "foo")
    assert foo.built == 1420070400


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("var/lib/dpkg/status", "no status at all\n\nnor this\n"),
        ("lib/apk/db/installed", "X:no package\n\nY:nor this\n"),
        ("var/lib/pacman/local/foo-1-1/desc", "no description\n"),
    ],
)
def test_a_database_without_a_readable_record(tmp_path, path, text, caplog):
    """It is a warning, and an error if `strict` is set."""
    make(tmp_path, {path: text, "usr/bin/foo": "foo"})
    assert "usr/bin/foo" in planned(tmp_path).tree
    assert "no record of the package database" in caplog.text
    with pytest.raises(DatabaseError, match=f"no record of the package database /{path.partition('/')[0]}"):
        planned(tmp_path, strict=True)
