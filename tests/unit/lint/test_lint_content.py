"""Leftovers, times, inodes, the rpm database: images with the fault, and without."""

from __future__ import annotations

import os
import py_compile
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rechunk_podman.lint.checks import Severity, Subject
from rechunk_podman.lint.inodes import MAX_LINKS
from rechunk_podman.model import Entry, Kind, Tree
from support.linting import found, link, make, results

LEFTOVERS = [
    ("var-content", "var/lib/app/state"),
    ("run-and-tmp", "run/app.pid"),
    ("run-and-tmp", "tmp/build/x"),
    ("run-and-tmp", "var/tmp/x"),
    ("caches", "var/cache/libdnf5/repo/x"),
    ("caches", "var/cache/apt/archives/x.deb"),
    ("caches", "var/lib/apt/lists/deb_dists"),
    ("caches", "var/cache/ldconfig/aux-cache"),
    ("caches", "root/.cache/pip/x"),
    ("logs", "var/log/dnf5.log"),
    ("package-journals", "var/lib/dnf/history.sqlite"),
    ("package-journals", "var/lib/dpkg/status-old"),
    ("package-journals", "usr/lib/sysimage/dpkg/lock"),
    ("package-journals", "usr/share/rpm/.rpm.lock"),
    ("package-journals", "var/lib/rpm/__db.001"),
    ("package-journals", "usr/lib/sysimage/libdnf5/packages.toml"),
    ("caches", "home/user/.cargo/registry/x"),
    ("caches", "srv/app/.next/cache/webpack/0.pack"),
    ("caches", "app/.next/trace"),
    ("caches", "app/node_modules/.cache/babel/x"),
    ("logs", "root/.npm/_logs/2026-01-01-debug-0.log"),
    ("package-journals", "usr/lib/sysimage/libdnf5/transaction_history.sqlite"),
    ("package-journals", "etc/passwd-"),
]


@pytest.mark.parametrize(("check", "path"), LEFTOVERS)
def test_what_a_build_left(tmp_path, check, path):
    make(tmp_path, {path: "x", "usr/bin/app": "x"})
    (result,) = found(tmp_path, check, bootable=True)
    assert result.finding.paths == (path,)
    assert result.severity is Severity.WARNING


CLEAN = {
    "usr/bin/app": "x",
    "etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "run/.containerenv": "",
    "run/lock": None,
    "tmp": None,
    "var/tmp": None,
    "var/run": "->../run",
    "var/log/journal": None,
    "var/log/empty.log": "",
    "var/cache/apt/archives": None,
    "var/lib/apt/lists/lock": "",
    "usr/share/factory/var/log/x.log": "x",
    "usr/lib/sysimage/rpm/rpmdb.sqlite": "x",
    "app/.next/server/x.js": "x",
}


@pytest.mark.parametrize("check", ["run-and-tmp", "caches", "logs", "package-journals"])
def test_nothing_left(tmp_path, check):
    assert found(make(tmp_path, CLEAN), check, bootable=True) == []


def test_var_of_an_application_is_its_own(tmp_path):
    make(tmp_path, {"var/lib/app/state": "x"})
    assert found(tmp_path, "var-content", bootable=False) == []
    make(tmp_path / "empty", {"var/lib/app": None, "var/log/x": "told by another check"})
    assert found(tmp_path / "empty", "var-content", bootable=True) == []


def compiled(top: Path, mode: py_compile.PycInvalidationMode) -> Path:
    source = make(top, {"usr/lib/python3/app.py": "x = 1\n"}) / "usr/lib/python3/app.py"
    os.utime(source, (1_600_000_000, 1_600_000_000))
    py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
    return source


def test_timestamped_byte_code(tmp_path):
    source = compiled(tmp_path, py_compile.PycInvalidationMode.TIMESTAMP)
    (result,) = found(tmp_path, "pyc-timestamps")
    assert result.finding.message.startswith("1 .pyc file validated by the time")
    assert "SOURCE_DATE_EPOCH" in result.check.fix
    assert found(tmp_path, "pyc-stale") == []
    os.utime(source, (1_600_000_001, 1_600_000_001))
    (result,) = found(tmp_path, "pyc-stale")
    assert result.finding.paths[0].endswith(".pyc")


def test_byte_code_of_a_symlink_has_the_time_of_its_target(tmp_path):
    source = compiled(tmp_path, py_compile.PycInvalidationMode.TIMESTAMP)
    target = tmp_path / "usr/share/app.py"
    target.parent.mkdir()
    source.rename(target)
    source.symlink_to("../../share/app.py")
    os.utime(source, (1, 1), follow_symlinks=False)
    assert found(tmp_path, "pyc-stale") == []
    os.utime(target, (1_600_000_001, 1_600_000_001))
    assert len(found(tmp_path, "pyc-stale")) == 1


def test_byte_code_by_hash(tmp_path):
    compiled(tmp_path, py_compile.PycInvalidationMode.CHECKED_HASH)
    assert found(tmp_path, "pyc-timestamps") == []
    assert found(tmp_path, "pyc-stale") == []


def test_java_archives(tmp_path):
    make(tmp_path / "with", {"usr/lib/jvm/lib/server/classes.jsa": "x"})
    make(tmp_path / "without", {"usr/lib/jvm/lib/modules": "x"})
    assert found(tmp_path / "with", "java-archives")[0].severity is Severity.NOTE
    assert found(tmp_path / "without", "java-archives") == []


def test_web_roots(tmp_path):
    make(tmp_path / "with", {"usr/share/nginx/html/index.html": "x"})
    make(tmp_path / "without", {"usr/share/nginx/html": None, "usr/share/doc/index.html": "x"})
    (result,) = found(tmp_path / "with", "web-roots")
    assert result.finding.paths == ("usr/share/nginx/html/index.html",)
    assert found(tmp_path / "without", "web-roots") == []


@pytest.mark.parametrize("other", ["etc/b", "usr/lib/b"])
def test_hard_links_around_etc(tmp_path, other):
    link(tmp_path, "etc/a", other)
    (result,) = found(tmp_path, "etc-hard-links", bootable=True)
    assert set(result.finding.paths) == {"etc/a", other}
    assert result.severity is Severity.ERROR
    assert found(tmp_path, "etc-hard-links")[0].severity is Severity.NOTE


def test_hard_links_elsewhere(tmp_path):
    link(tmp_path, "usr/bin/a", "usr/bin/b")
    assert found(tmp_path, "etc-hard-links", bootable=True) == []
    assert found(tmp_path, "hard-link-limit") == []


@pytest.mark.parametrize(("count", "findings"), [(MAX_LINKS, 0), (MAX_LINKS + 1, 1)])
def test_more_hard_links_than_a_file_system_takes(count, findings):
    directory = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 1, 1, None, None, ())
    file = Entry(Kind.FILE, 0o644, 0, 0, 1, 0, 0, 2, count, None, None, ())
    tree = Tree(directory, {f"f{number}": file for number in range(count)})
    assert len(results(Subject("x", tree, {}, lambda path: None), "hard-link-limit")) == findings


def test_special_files(tmp_path):
    make(tmp_path, {"usr/bin/app": "x"})
    assert found(tmp_path, "special-files", zstd_chunked=True) == []
    os.mkfifo(tmp_path / "fifo")
    assert found(tmp_path, "special-files")[0].severity is Severity.NOTE
    (result,) = found(tmp_path, "special-files", zstd_chunked=True)
    assert result.finding[:2] == ("1 FIFO", ("fifo",))
    assert result.severity is Severity.ERROR


def test_names_that_are_no_text(tmp_path):
    make(tmp_path, {"usr/share/größe": "x"})
    assert found(tmp_path, "odd-names", zstd_chunked=True) == []
    Path(os.fsdecode(bytes(tmp_path) + b"/usr/share/gr\xf6\xdfe")).write_text("x")
    (result,) = found(tmp_path, "odd-names", zstd_chunked=True)
    assert "not in UTF-8" in result.finding.message
    assert result.severity is Severity.ERROR
    assert found(tmp_path, "odd-names", bootable=True)[0].severity is Severity.ERROR
    assert found(tmp_path, "odd-names")[0].severity is Severity.NOTE


def test_names_with_line_breaks(tmp_path):
    make(tmp_path, {"usr/a\nb": "x"})
    (result,) = found(tmp_path, "odd-names", zstd_chunked=True)
    assert result.severity is Severity.WARNING


def database(path: Path, mode: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
    return path


def test_rpmdb_in_wal_mode(tmp_path):
    path = database(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite", "WAL")
    (result,) = found(tmp_path, "rpmdb-wal")
    assert result.severity is Severity.WARNING
    Path(f"{path}-wal").write_bytes(b"not finished")
    (result,) = found(tmp_path, "rpmdb-wal")
    assert result.severity is Severity.ERROR


def test_rpmdb_not_in_wal_mode(tmp_path):
    database(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite", "DELETE")
    make(tmp_path, {"var/lib/rpm": "->../../usr/lib/sysimage/rpm"})
    assert found(tmp_path, "rpmdb-wal") == []
    assert found(tmp_path, "rpmdb-copies") == []


def test_rpmdb_twice(tmp_path):
    make(
        tmp_path,
        {"usr/share/rpm/rpmdb.sqlite": "db", "usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite": "db"},
    )
    (result,) = found(tmp_path, "rpmdb-copies")
    assert "twice" in result.finding.message
    assert len(result.finding.paths) == 2


def test_rpmdb_twice_as_a_hard_link_or_of_another_time(tmp_path):
    link(tmp_path / "link", "usr/share/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite")
    assert found(tmp_path / "link", "rpmdb-copies") == []
    make(
        tmp_path / "other",
        {"usr/share/rpm/rpmdb.sqlite": "new", "usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite": "old"},
    )
    assert found(tmp_path / "other", "rpmdb-copies") == []


def test_two_databases_of_dpkg(tmp_path):
    make(tmp_path, {"var/lib/dpkg/status": "one", "usr/lib/sysimage/dpkg/status": "two"})
    (result,) = found(tmp_path, "rpmdb-copies")
    assert "several databases of dpkg" in result.finding.message


def test_two_databases_of_rpm(tmp_path):
    make(tmp_path, {"usr/share/rpm/rpmdb.sqlite": "one", "var/lib/rpm/rpmdb.sqlite": "two"})
    (result,) = found(tmp_path, "rpmdb-copies")
    assert "several" in result.finding.message
