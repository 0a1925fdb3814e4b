"""assign(): every path once, sizes, fingerprints, mtimes."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import struct

import numpy as np
import pytest
import xattr

from rechunk_podman.components.assign import assign
from rechunk_podman.components.mtimes import CONTENT_BITS, CONTENT_END, CONTENT_EPOCH, content_mtimes
from rechunk_podman.components.sources import unclaimed
from rechunk_podman.components.sources.bytecode import recorded_mtime, source_of
from rechunk_podman.errors import RootfsError
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers
from support.assigning import INSTALLED, Result, assigned, make
from support.rpm_headers import package, sqlite_database

BUILT = 1_700_000_000
DATABASE = "usr/lib/sysimage/rpm/rpmdb.sqlite"


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    top.mkdir()
    return top


def packaged(top, paths, **options):
    """An rpm database in `top` of one package that holds these paths as they are now."""
    sqlite_database(top / DATABASE, [package("pkg", top, paths, built=BUILT, **options)])


# Every path once


def test_files_and_empty_directories_once_others_never_the_root_apart(top):
    make(top, {"etc/a": "1", "etc/b": "2", "opt/app/bin/x": "3"})
    (top / "proc").mkdir()
    (top / "var/empty").mkdir(parents=True)
    (top / "etc/link").symlink_to("a")
    os.mkfifo(top / "run")
    result = assigned(top)
    paths = [path for paths in result.paths.values() for path in paths]
    assert sorted(paths) == ["", "etc/a", "etc/b", "etc/link", "opt/app/bin/x", "proc", "run", "var/empty"]
    assert result.paths["filesystem/root"] == [""]
    ids = [component.id for component in result.components.values()]
    assert ids == sorted(ids)


def test_places_of_databases_that_are_something_else(top):
    make(top, {"etc/a": "1"})
    for loop in ("var/lib/rpm", "var/lib/dpkg", "usr/share/doc/foo", "var/lib/apt"):
        (top / loop).parent.mkdir(parents=True, exist_ok=True)
        (top / loop).symlink_to(top.joinpath(loop).name)
    (top / "usr/lib/sysimage/rpm/Packages").mkdir(parents=True)
    os.mkfifo(top / DATABASE)
    (top / "usr/lib/sysimage/dpkg").mkdir()
    (top / "usr/lib/sysimage/dpkg/status").write_text(
        "Package: foo\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    )
    os.mkfifo(top / "usr/lib/sysimage/dpkg/diversions")
    result = assigned(top)
    paths = set(result.owner)
    assert {"etc/a", "var/lib/rpm", "var/lib/dpkg", "usr/share/doc/foo", DATABASE} <= paths


@pytest.mark.parametrize("source", ["dpkg", "rpm"])
def test_packages_of_which_nothing_is_left(top, source):
    """Databases are read though they are pruned themselves, here with everything else."""
    make(top, {"usr/x": "x"})
    if source == "rpm":
        sqlite_database(top / "usr/lib/sysimage/rpm/rpmdb.sqlite", [package("a", top, ["/usr/x"])])
    else:
        status = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
        make(
            top, {"usr/lib/sysimage/dpkg/status": status, "usr/lib/sysimage/dpkg/info/a.list": "/.\n/usr/x\n"}
        )
    with Root(top) as root:
        found = assign(root, scan(root, prune=["/usr"]))
        assert [str(component.id) for component in found.components] == ["filesystem/root"]
        kept = assign(root, scan(root, prune=["/usr/x"]))
    assert f"database/{source}" in [str(component.id) for component in kept.components]


def test_an_empty_root(top):
    assert list(assigned(top).components) == ["filesystem/root"]


def test_hard_links_stay_with_the_first_claim_of_any_of_them(top):
    make(top, {"usr/bin/tool": "x" * 5000, "opt/app/y": "z"})
    os.link(top / "usr/bin/tool", top / "opt/app/a-copy")
    packaged(top, ["/usr/bin/tool"])
    result = assigned(top)
    assert result.owner["usr/bin/tool"] == result.owner["opt/app/a-copy"] == "rpm/pkg"
    # 512 + 5000 padded to 5120, and a hard link's header
    assert result["rpm/pkg"].size == 512 + 5120 + 512


def test_unclaimed_by_subtree(top):
    make(top, dict.fromkeys(("etc/x", "opt/a/x", "opt/b/c/x", "usr/local/bin/x", "var/lib/x/y", "z"), "x"))
    owner = assigned(top).owner
    assert {owner[path] for path in ("etc/x", "opt/a/x", "opt/b/c/x", "usr/local/bin/x")} == {
        "unclaimed/etc",
        "unclaimed/opt/a",
        "unclaimed/opt/b",
        "unclaimed/usr/local",
    }
    assert owner["var/lib/x/y"] == "unclaimed/var/lib/x"
    assert owner["z"] == "unclaimed/."


def test_the_number_of_subtrees_is_bounded(top):
    make(top, {f"opt/app{number}/file": "x" for number in range(unclaimed.MOST + 50)})
    result = assigned(top)
    subtrees = [ident for ident in result.components if ident.startswith("unclaimed/")]
    assert len(subtrees) == unclaimed.MOST
    assert "unclaimed/opt" in subtrees


def test_big_files_alone(top):
    make(top, {"opt/app/big": bytes(1 << 20), "opt/app/less": bytes((1 << 20) - 1)})
    owner = assigned(top).owner
    assert owner["opt/app/big"] == "bigfiles/opt/app/big"
    assert owner["opt/app/less"] == "unclaimed/opt/app"


# Byte code


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/m.cpython-311.pyc", "a/m.py"),
        ("a/__pycache__/m.cpython-311.opt-1.pyc", "a/m.py"),
        ("__pycache__/m.pypy39.pyc", "m.py"),
        ("a/__pycache__/x.y.cpython-311.pyc", "a/x.y.py"),
        ("a/m.pyc", "a/m.py"),
        ("a/__pycache__/m.pyc", None),
        ("a/m.py", None),
    ],
)
def test_the_source_of_byte_code(path, source):
    assert source_of(path) == source


@pytest.mark.parametrize("source", ["a/m.py", "a/x.y.py"])
@pytest.mark.parametrize("optimization", ["", 1, "weird"])
def test_python_writes_byte_code_where_we_look_for_it(source, optimization):
    cache = importlib.util.cache_from_source(f"/{source}", optimization=optimization)
    assert source_of(cache.lstrip("/")) == source


def test_byte_code_goes_with_its_source(top):
    make(
        top,
        {
            "usr/lib/py/m.py": "1",
            "usr/lib/py/__pycache__/m.cpython-311.pyc": "c",
            "usr/lib/py/__pycache__/m.cpython-311.opt-2.pyc": "c",
            "usr/lib/py/__pycache__/gone.cpython-311.pyc": "c",
            "usr/lib/py/m.pyc": "c",
            "opt/app/large.py": bytes(1 << 20),
            "opt/app/__pycache__/large.cpython-311.pyc": "c",
        },
    )
    packaged(top, ["/usr/lib/py/m.py"])
    owner = assigned(top).owner
    assert owner["usr/lib/py/__pycache__/m.cpython-311.pyc"] == "rpm/pkg"
    assert owner["usr/lib/py/__pycache__/m.cpython-311.opt-2.pyc"] == "rpm/pkg"
    assert owner["usr/lib/py/m.pyc"] == "rpm/pkg"
    assert owner["usr/lib/py/__pycache__/gone.cpython-311.pyc"] == "unclaimed/usr/lib/py"
    assert owner["opt/app/__pycache__/large.cpython-311.pyc"] == "bigfiles/opt/app/large.py"


def test_a_source_that_is_a_hard_link_to_its_byte_code(top):
    make(top, {"opt/app/m.py": "x"})
    os.link(top / "opt/app/m.py", top / "opt/app/m.pyc")
    owner = assigned(top).owner
    assert owner["opt/app/m.py"] == owner["opt/app/m.pyc"] == "unclaimed/opt/app"


def test_recorded_mtimes():
    magic = importlib.util.MAGIC_NUMBER
    assert recorded_mtime(magic + struct.pack("<III", 0, 77, 5)) == 77
    assert recorded_mtime(magic + struct.pack("<III", 1, 77, 5)) is None
    assert recorded_mtime(magic + struct.pack("<III", 3, 77, 5)) is None
    assert recorded_mtime(struct.pack("<H", 62211) + b"\r\n" + struct.pack("<II", 77, 0)) == 77
    assert recorded_mtime(b"nonsense that is long enough") is None
    assert recorded_mtime(b"") is None


@pytest.mark.parametrize("owned", [True, False])
def test_a_source_whose_time_its_byte_code_records_keeps_it(top, owned):
    make(
        top,
        {"usr/lib/py/m.py": "x = 1\n", "usr/lib/py/hashed.py": "x = 2\n", "usr/lib/py/stale.py": "x = 3\n"},
    )
    folder = top / "usr/lib/py"
    py_compile.compile(str(folder / "m.py"))
    py_compile.compile(
        str(folder / "hashed.py"), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )
    py_compile.compile(str(folder / "stale.py"))
    os.utime(folder / "stale.py", (INSTALLED + 9, INSTALLED + 9))
    if owned:
        packaged(top, ["/usr/lib/py/m.py", "/usr/lib/py/hashed.py", "/usr/lib/py/stale.py"])
    mtimes = assigned(top).mtimes
    assert mtimes["usr/lib/py/m.py"] == INSTALLED
    for name in ("hashed.py", "stale.py"):
        assert mtimes.get(f"usr/lib/py/{name}", BUILT) not in (INSTALLED, INSTALLED + 9)


@pytest.mark.parametrize("link", [False, True])
def test_a_source_with_byte_code_has_no_other_time_in_a_layer_of_parts(top, link):
    """The package's time, which its byte code records, does not change in a layer of the whole component."""
    make(top, {"usr/lib/py/m.py": "x = 1\n", "usr/lib/py/alone.py": "x = 2\n"}, BUILT - 9)
    if link:
        (top / "usr/lib/py/m.py").rename(top / "usr/lib/real.py")
        (top / "usr/lib/py/m.py").symlink_to("../real.py")
    py_compile.compile(str(top / "usr/lib/py/m.py"))
    source = "usr/lib/real.py" if link else "usr/lib/py/m.py"
    packaged(top, [f"/{source}", "/usr/lib/py/alone.py"])
    result = assigned(top)
    assert result.steady[source] == result.mtimes[source] == BUILT - 9
    assert CONTENT_EPOCH <= result.steady["usr/lib/py/alone.py"] < CONTENT_END
    assert result.mtimes["usr/lib/py/alone.py"] == BUILT - 9


def test_a_source_behind_a_symlink_keeps_the_time_that_byte_code_records(top):
    make(top, {"opt/app/m.py": "x = 1\n"})
    (top / "usr/lib/py").mkdir(parents=True)
    (top / "usr/lib/py/m.py").symlink_to("../../../opt/app/m.py")
    py_compile.compile(str(top / "usr/lib/py/m.py"))
    assert assigned(top).mtimes["opt/app/m.py"] == INSTALLED


# mtimes


def test_content_decides_the_time_of_what_no_package_holds(top):
    make(top, {"etc/a": "same", "etc/b": "same", "etc/c": "other", "etc/empty": ""})
    mtimes = assigned(top).mtimes
    assert mtimes["etc/a"] == mtimes["etc/b"] != mtimes["etc/c"]
    assert mtimes.pop("etc") == 0
    assert all(CONTENT_EPOCH <= time < CONTENT_END for time in mtimes.values())


def test_content_mtimes_are_in_the_past_and_use_their_bits():
    digests = np.array([[0] * 32, [255] * 32, [0x12, 0x34, 0x56, 0x78] * 8], np.uint8)
    first, last, some = content_mtimes(digests).tolist()
    assert first == CONTENT_EPOCH > 1
    assert last == CONTENT_EPOCH + 2**CONTENT_BITS - 1 < 1_000_000_000
    assert some == CONTENT_EPOCH + 0x1234567


def test_files_of_a_package_are_no_newer_than_its_build(top):
    make(top, {"usr/bin/new": "1"})
    make(top, {"usr/bin/old": "2"}, mtime=BUILT - 100)
    packaged(top, ["/usr/bin/new", "/usr/bin/old"])
    result = assigned(top)
    assert result["rpm/pkg"].built == BUILT
    assert (result.mtimes["usr/bin/new"], result.mtimes["usr/bin/old"]) == (BUILT, BUILT - 100)


def test_the_package_decides_the_time_of_a_file_that_another_component_owns(top):
    make(top, {"usr/bin/tool": "3"})
    xattr.setxattr(top / "usr/bin/tool", "user.component", b"mine")
    packaged(top, ["/usr/bin/tool"])
    result = assigned(top)
    assert result.owner["usr/bin/tool"] == "xattr/mine"
    assert result["xattr/mine"].built is None
    assert result.mtimes["usr/bin/tool"] == BUILT


def test_times_of_what_is_no_regular_file(top):
    make(top, {"etc/a": "1"})
    (top / "etc/link").symlink_to("a")
    (top / "var/empty").mkdir(parents=True)
    os.mkfifo(top / "etc/fifo")
    os.link(top / "etc/fifo", top / "etc/again")
    mtimes = assigned(top).mtimes
    found = {path: mtimes[path] for path in ("etc", "var/empty", "etc/link", "etc/fifo", "etc/again")}
    assert found == {"etc": 0, "var/empty": 0, "etc/link": 1, "etc/fifo": 1, "etc/again": 1}


def test_keep_mtime_of_files_and_subtrees(top, caplog):
    make(top, {"opt/app/lib/a.jar": "1", "opt/app/lib/b.jar": "2", "opt/app/c.jar": "3", "etc/d": "4"})
    (top / "lib").symlink_to("opt/app/lib")
    mtimes = assigned(top, keep_mtime=["/opt/app/lib", "/etc/d", "/nowhere"]).mtimes
    assert [path for path, time in mtimes.items() if time == INSTALLED] == [
        "etc/d",
        "opt/app/lib/a.jar",
        "opt/app/lib/b.jar",
    ]
    assert "/nowhere" in caplog.text


def test_mtimes_kept_by_xattr(top):
    make(top, {"opt/app/a.jar": "1", "opt/app/b.jar": "2", "opt/kept/c.jar": "3"})
    xattr.setxattr(top / "opt/app/a.jar", "user.mtime", b"keep")
    xattr.setxattr(top / "opt/kept", "user.mtime", b"keep")
    mtimes = assigned(top).mtimes
    assert [path for path, time in mtimes.items() if time == INSTALLED] == ["opt/app/a.jar", "opt/kept/c.jar"]


def test_hard_links_share_one_time(top):
    make(top, {"a/first": "x", "b/other": "y"})
    os.link(top / "a/first", top / "b/second")
    xattr.setxattr(top / "a/first", "user.mtime", b"keep")
    mtimes = assigned(top).mtimes
    assert mtimes["a/first"] == mtimes["b/second"] == INSTALLED


# Fingerprints


def fingerprint(top, ident="unclaimed/opt/app"):
    return assigned(top)[ident].fingerprint


@pytest.fixture
def app(top):
    make(top, {"opt/app/bin/tool": "content", "opt/app/other": "y", "etc/conf": "z"})
    (top / "opt/app/link").symlink_to("other")
    return top


def test_a_fingerprint_has_8_bytes_and_ignores_what_normalisation_takes_away(app, tmp_path):
    before = assigned(app)
    assert {len(component.fingerprint) for component in before.components.values()} == {8}
    copy = tmp_path / "copy"
    shutil.copytree(app, copy, symlinks=True)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    after = assigned(copy)
    assert after == before


@pytest.mark.parametrize(
    "change",
    [
        lambda app: (app / "opt/app/other").write_text("Y"),
        lambda app: (app / "opt/app/other").chmod(0o600),
        lambda app: (app / "opt/app/other").rename(app / "opt/app/renamed"),
        lambda app: (app / "opt/app/more").write_text(""),
        lambda app: xattr.setxattr(app / "opt/app/other", "user.a", b"b"),
        lambda app: (app / "opt/app/bin").chmod(0o700),
        lambda app: (app / "opt").chmod(0o700),
        lambda app: xattr.setxattr(app / "opt/app", "user.a", b"b"),
        lambda app: ((app / "opt/app/link").unlink(), (app / "opt/app/link").symlink_to("othex")),
        lambda app: os.link(app / "opt/app/other", app / "opt/app/z-link"),
    ],
)
def test_a_fingerprint_is_of_everything_the_layer_holds(app, change):
    before, other = fingerprint(app), fingerprint(app, "unclaimed/etc")
    change(app)
    assert fingerprint(app) != before
    assert fingerprint(app, "unclaimed/etc") == other


def test_the_root_directory_is_no_ancestor(app):
    before = assigned(app)
    app.chmod(0o700)
    after = assigned(app)
    assert after == before
    assert assigned(app, root_mode=0o700)["filesystem/root"] != before["filesystem/root"]


def test_the_digest_of_the_database_stands_for_the_content_and_reading_says_the_same(top):
    make(top, {"usr/bin/tool": "content"}, mtime=BUILT)
    packaged(top, ["/usr/bin/tool"])
    trusted = fingerprint(top, "rpm/pkg")
    os.utime(top / "usr/bin/tool", (INSTALLED, INSTALLED))
    assert fingerprint(top, "rpm/pkg") == trusted
    make(top, {"usr/bin/tool": "CONTENT"}, mtime=INSTALLED)
    assert assigned(top).owner["usr/bin/tool"] == "unclaimed/usr/bin"
    make(top, {"usr/bin/tool": "CONTENT"}, mtime=BUILT)
    assert fingerprint(top, "rpm/pkg") == trusted, "an untouched file was read"


def test_threads_make_no_difference(top):
    make(top, {f"opt/app/{number}": f"{number}" * number for number in range(700)})
    with Root(top) as root, Workers(3) as workers:
        tree = scan(root, workers=workers)
        shared = Result(tree, assign(root, tree, workers=workers))
    assert shared == assigned(top)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text("longer than before"),
        lambda file: file.write_text("s"),
        lambda file: os.utime(file, (5, 5)),
    ],
)
def test_a_file_that_changes_or_vanishes_is_named(top, change, threads):
    make(top, {f"opt/app/{number}": "four" for number in range(300)})
    with Root(top) as root, Workers(threads) as workers:
        tree = scan(root, workers=workers)
        change(top / "opt/app/123")
        with pytest.raises(RootfsError, match="/opt/app/123"):
            assign(root, tree, workers=workers)
