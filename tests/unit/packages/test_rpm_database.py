"""The rpm databases that real distributions wrote, read without rpm; logs, broken files, the three places."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.rpm import bdb as rpm_bdb
from rechunk_podman.packages.rpm import database as rpm_db
from rechunk_podman.packages.rpm import header as rpm_header
from rechunk_podman.packages.rpm import ndb as rpm_ndb
from rechunk_podman.packages.rpm.header import Header, HeaderError
from rechunk_podman.rootfs.root import Root
from support.rpm_headers import files, package, sqlite_database


@pytest.fixture
def fixtures(repository):
    folder = repository.parent / "shared" / "fixtures"
    if not folder.is_dir():
        pytest.skip("the databases of real distributions are not beside the checkout")
    return folder


def names(top):
    with Root(top) as root:
        return [
            record if isinstance(record, HeaderError) else Header(record).string(rpm_header.NAME)
            for _, record in rpm_db.records(root, rpm_db.databases(root))
        ]


def install(fixture, top, path):
    (top / path).parent.mkdir(parents=True)
    shutil.copyfile(fixture, top / path)


@pytest.mark.parametrize("directory", rpm_db.DIRECTORIES)
def test_fedora_sqlite(fixtures, tmp_path, directory):
    install(fixtures / "rpmdb-sqlite-fedora.sqlite", tmp_path, f"{directory}/rpmdb.sqlite")
    assert names(tmp_path) == [
        "hummingbird-gpg-keys",
        "hummingbird-repos",
        "hummingbird-release",
        "setup",
        "filesystem",
    ]


def test_sle_ndb(fixtures, tmp_path):
    install(fixtures / "rpmdb-ndb-sle15.Packages.db", tmp_path, "usr/lib/sysimage/rpm/Packages.db")
    found = names(tmp_path)
    assert len(found) == 35
    assert {"glibc", "bash", "rpm-ndb", "libgcc_s1"} <= set(found)


def test_rhel_bdb(fixtures, tmp_path):
    install(fixtures / "rpmdb-bdb-libuuid.Packages", tmp_path, "var/lib/rpm/Packages")
    with Root(tmp_path) as root:
        ((_, record),) = rpm_db.records(root, rpm_db.databases(root))
    header = Header(record)
    assert header.source() == ("util-linux", "2.32.1-42.el8_8")
    assert header.number(rpm_header.BUILDTIME) == 1680515723
    assert len(header.numbers(rpm_header.CHANGELOGTIME)) == 570
    library = next(file for file in files(header) if file.path.endswith("libuuid.so.1.3.0"))
    assert library.path == "/usr/lib64/libuuid.so.1.3.0"
    assert len(library.digest) == 64


def test_headers_say_what_is_known_of_these_packages(fixtures):
    data = (fixtures / "rpmdb-ndb-sle15.Packages.db").read_bytes()
    headers = {header.string(rpm_header.NAME): header for header in map(Header, rpm_ndb.parse(data))}
    assert headers["libstdc++6"].source() == ("gcc11", "11.2.1+git610-1.3.9")
    assert headers["glibc"].number(rpm_header.BUILDTIME) == 1632243768
    perl = {file.path: file for file in files(headers["perl-base"])}
    assert perl["/usr/share/man/man1/perl.1.gz"].state == 2
    assert perl["/usr/bin/perl"].state == rpm_header.STATE_NORMAL


def test_a_place_may_be_a_symlink_to_another(tmp_path):
    sqlite_database(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite", [package("one")])
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/rpm").symlink_to("/usr/lib/sysimage/rpm")
    with Root(tmp_path) as root:
        assert list(rpm_db.databases(root)) == ["usr/lib/sysimage/rpm/rpmdb.sqlite"]


def test_an_empty_database_gives_way_to_one_with_packages(tmp_path):
    sqlite_database(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite", [])
    sqlite_database(tmp_path / "var/lib/rpm/rpmdb.sqlite", [package("one")])
    assert names(tmp_path) == ["one"]


def test_no_database(tmp_path):
    with Root(tmp_path) as root:
        assert not rpm_db.databases(root)


def test_a_database_may_be_a_symlink_to_a_file_of_another_name(tmp_path):
    sqlite_database(tmp_path / "srv/packages", [package("one")])
    (tmp_path / "usr/lib/sysimage/rpm").mkdir(parents=True)
    (tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite").symlink_to("/srv/packages")
    assert names(tmp_path) == ["one"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/shadow")])
def test_what_is_no_file_is_an_error(tmp_path, make):
    (tmp_path / "usr/lib/sysimage/rpm").mkdir(parents=True)
    make(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite")
    with Root(tmp_path) as root, pytest.raises(DatabaseError, match="is not a regular file"):
        rpm_db.databases(root)


def wal_database(path, first, second):
    """A database whose second package is in the write-ahead log alone; a crash left both files."""
    sqlite_database(path, [first])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        with connection:
            connection.execute("INSERT INTO Packages (blob) VALUES (?)", (second,))
        aside = path.with_name("aside")
        aside.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", aside / f"{path.name}{suffix}")
    for file in path.parent.glob(path.name + "*"):
        file.unlink()
    for file in aside.iterdir():
        file.rename(path.parent / file.name)
    aside.rmdir()


def test_what_only_the_write_ahead_log_holds_is_read_and_nothing_written(tmp_path):
    database = tmp_path / "root/usr/lib/sysimage/rpm/rpmdb.sqlite"
    wal_database(database, package("one"), package("two"))
    before = {path.name: path.read_bytes() for path in database.parent.iterdir()}
    assert set(before) == {"rpmdb.sqlite", "rpmdb.sqlite-wal"}
    assert names(tmp_path / "root") == ["one", "two"]
    assert {path.name: path.read_bytes() for path in database.parent.iterdir()} == before


def test_wal_mode_without_a_log_in_a_directory_nobody_may_write(tmp_path):
    database = tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite"
    sqlite_database(database, [package("one")])
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert database.read_bytes()[18:20] == b"\2\2"
    database.chmod(0o444)
    database.parent.chmod(0o555)
    before = os.listdir(database.parent)
    assert names(tmp_path) == ["one"]
    assert os.listdir(database.parent) == before


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db", "Packages"])
def test_what_is_no_database_is_an_error(tmp_path, name):
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm" / name).write_bytes(b"nonsense" * 1000)
    with pytest.raises(DatabaseError):
        names(tmp_path)


def test_a_table_of_another_kind_is_an_error(tmp_path):
    database = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE VIEW Packages AS SELECT 1 AS hnum, x'00' AS blob")
    with pytest.raises(DatabaseError, match="no table") as caught:
        names(tmp_path)
    assert "rpm --root ROOTFS --rebuilddb" in (caught.value.hint or "")


def test_an_error_of_sqlite_that_is_not_utf_8_names_the_database(tmp_path):
    database = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    sqlite_database(database, [package("one")])
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('table', CAST(x'ff61' AS TEXT), 't', 9, 'CREATE TABLE x')"
        )
    with pytest.raises(DatabaseError, match=r"cannot read the rpm database /var/lib/rpm/rpmdb\.sqlite"):
        names(tmp_path)


def test_a_damaged_ndb_blob_costs_its_package(fixtures):
    data = bytearray((fixtures / "rpmdb-ndb-sle15.Packages.db").read_bytes())
    start = data.index(b"BlbS")
    data[start : start + 4] = b"XXXX"
    records = list(rpm_ndb.parse(bytes(data)))
    assert [type(record) for record in records].count(HeaderError) == 1
    assert len(records) == 35


def test_a_broken_bdb_chain_costs_its_package(fixtures):
    data = bytearray((fixtures / "rpmdb-bdb-libuuid.Packages").read_bytes())
    page = next(start for start in range(4096, len(data), 4096) if data[start + 25] == 7)
    data[page + 25] = 0
    (record,) = rpm_bdb.parse(bytes(data))
    assert isinstance(record, HeaderError)
    with pytest.raises(DatabaseError):
        list(rpm_bdb.parse(bytes(data[:100])))
    with pytest.raises(DatabaseError):
        list(rpm_ndb.parse(b"RpmP" + bytes(5000)))
