"""Components from the rpm database."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
import xattr

from rechunk_podman.components.mtimes import CONTENT_END, CONTENT_EPOCH
from rechunk_podman.packages.rpm import header as rpm_header
from support import rpm_headers
from support.assigning import INSTALLED, assigned, make
from support.rpm_headers import package, sqlite_database

BUILT = 1_700_000_000
DATABASE = "usr/lib/sysimage/rpm/rpmdb.sqlite"


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    (top / "usr/lib").mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    return top


def install(top, *records):
    sqlite_database(top / DATABASE, list(records))


def test_binary_packages_of_one_source_are_one_component(top):
    make(top, {"usr/lib/one": "1", "usr/lib/two": "2", "usr/lib/three": "3"})
    install(
        top,
        package("lib", top, ["/usr/lib/one"], source="src-1.5-3", built=BUILT, changes=[300, 100]),
        package("tools", top, ["/usr/lib/two"], source="src-1.5-3", built=BUILT + 60, changes=[300, 200]),
        package("other", top, ["/usr/lib/three"]),
    )
    result = assigned(top)
    component = result["rpm/src"]
    assert result.paths["rpm/src"] == ["usr/lib/one", "usr/lib/two"]
    assert component.version == "1.5-3"
    assert component.built == BUILT + 60
    assert component.changes == (300, 200, 100)
    assert result.owner["usr/lib/three"] == "rpm/other"


def test_a_source_of_several_versions_names_all_in_their_order(top):
    make(top, {"usr/lib/one": "1", "usr/lib/two": "2"})
    install(
        top,
        package("kernel", top, ["/usr/lib/one"], source="kernel-6.1.128-1", built=BUILT),
        package("kernel", top, ["/usr/lib/two"], source="kernel-6.1.27-1", built=BUILT + 60),
    )
    assert assigned(top)["rpm/kernel"].version == "6.1.27-1 6.1.128-1"


def test_paths_through_directory_symlinks(top):
    make(top, {"usr/lib/one": "1"})
    install(top, package("pkg", top, ["/lib/one", "/lib"]))
    owner = assigned(top).owner
    assert owner["usr/lib/one"] == owner["lib"] == "rpm/pkg"


def test_empty_directories_of_a_package(top):
    (top / "usr/lib/games").mkdir()
    install(top, package("pkg", top, ["/usr/lib/games", "/usr/lib"]))
    assert assigned(top).paths["rpm/pkg"] == ["usr/lib/games"]


def test_the_order_of_records_does_not_matter(top, tmp_path):
    make(top, {"usr/lib/shared": "1", "usr/lib/a": "2", "usr/lib/b": "3"})
    records = [
        package("b", top, ["/usr/lib/shared", "/usr/lib/b"], built=BUILT),
        package("a", top, ["/usr/lib/shared", "/usr/lib/a"], built=BUILT - 5),
    ]
    install(top, *records)
    first = assigned(top)
    (top / DATABASE).unlink()
    install(top, *reversed(records))
    second = assigned(top)
    assert first.owner["usr/lib/shared"] == second.owner["usr/lib/shared"] == "rpm/a"
    assert first["rpm/a"] == second["rpm/a"]


def test_the_database_is_a_component_that_always_changes(top):
    make(top, {"usr/lib/one": "1", "var/lib/dnf/history.sqlite": "h"})
    install(top, package("rpm", top, ["/usr/lib/one"]))
    make(top, {DATABASE + "-shm": "", "usr/lib/sysimage/rpm/.rpm.lock": ""})
    result = assigned(top)
    assert result.paths["database/rpm"] == [
        "usr/lib/sysimage/rpm/.rpm.lock",
        DATABASE,
        DATABASE + "-shm",
        "var/lib/dnf/history.sqlite",
    ]
    component = result["database/rpm"]
    assert component.interval is not None
    assert component.interval < 1
    assert component.built is None


def test_files_that_are_not_installed_are_not_claimed(top):
    make(top, {"usr/lib/replaced": "1", "usr/lib/own": "2"})
    install(top, package("pkg", top, ["/usr/lib/replaced", "/usr/lib/own"], FILESTATES=[1, 0]))
    owner = assigned(top).owner
    assert owner["usr/lib/replaced"] == "unclaimed/usr/lib"
    assert owner["usr/lib/own"] == "rpm/pkg"


def test_a_ghost_is_the_packages_but_its_time_is_its_contents(top):
    make(top, {"usr/lib/cache": "1", "usr/lib/file": "2"})
    install(top, package("pkg", top, ["/usr/lib/cache", "/usr/lib/file"], FILEFLAGS=[1 << 6, 0]))
    result = assigned(top)
    assert result.owner["usr/lib/cache"] == "rpm/pkg"
    assert result.owner["usr/lib/file"] == "rpm/pkg"
    assert result.mtimes["usr/lib/file"] == BUILT
    assert result.mtimes["usr/lib/cache"] < CONTENT_END


@pytest.mark.parametrize("algorithm", [1, 2, 8, 10])
def test_every_digest_algorithm(top, algorithm):
    names = {1: "md5", 2: "sha1", 8: "sha256", 10: "sha512"}
    digest = hashlib.new(names[algorithm], b"content").hexdigest()
    make(top, {"usr/lib/file": "content"}, mtime=BUILT)
    record = package("pkg", top, ["/usr/lib/file"], FILEDIGESTS=[digest], FILEDIGESTALGO=algorithm)
    install(top, record)
    before = assigned(top)["rpm/pkg"]
    os.utime(top / "usr/lib/file", (INSTALLED, INSTALLED))
    assert assigned(top)["rpm/pkg"] == before


@pytest.mark.parametrize("override", [{"FILEDIGESTALGO": 99}, {"FILEDIGESTS": ["zz"]}, {"FILEDIGESTS": [""]}])
def test_a_digest_of_no_use_is_none(top, override):
    make(top, {"usr/lib/file": "content"}, mtime=BUILT)
    install(top, package("pkg", top, ["/usr/lib/file"], **override))
    before = assigned(top)["rpm/pkg"].fingerprint
    make(top, {"usr/lib/file": "CONTENT"}, mtime=BUILT)
    assert assigned(top)["rpm/pkg"].fingerprint != before


def test_moved_files_are_found_by_their_digest(top):
    make(top, {"etc/app.conf": "settings", "etc/other.conf": "changed", "boot/tool": "tool"})
    install(top, package("pkg", top, ["/etc/app.conf", "/etc/other.conf", "/boot/tool"]))
    (top / "usr/etc").mkdir()
    (top / "etc/app.conf").rename(top / "usr/etc/app.conf")
    (top / "etc/other.conf").unlink()
    make(top, {"usr/etc/other.conf": "CHANGED", "opt/elsewhere/app.conf": "not the"})
    (top / "boot/tool").rename(top / "usr/lib/tool")
    result = assigned(top)
    assert result.paths["rpm/pkg"] == ["usr/etc/app.conf", "usr/lib/tool"]
    assert result.owner["usr/etc/other.conf"] == "unclaimed/usr/etc"
    assert result.mtimes["usr/etc/app.conf"] == BUILT


def test_a_broken_record_costs_that_record(top, caplog):
    make(top, {"usr/lib/one": "1", "usr/lib/two": "2"})
    broken = package("broken", top, ["/usr/lib/two"], DIRINDEXES=[7])
    install(top, b"nonsense", broken, package("whole", top, ["/usr/lib/one"]))
    owner = assigned(top).owner
    assert owner["usr/lib/one"] == "rpm/whole"
    assert owner["usr/lib/two"] == "unclaimed/usr/lib"
    assert len(caplog.records) == 2
    assert "broken" in caplog.text


@pytest.mark.parametrize("built", [0, 1, 2**32 - 1])
def test_absurd_build_times(top, built):
    make(top, {"usr/lib/one": "1"})
    install(top, package("pkg", top, ["/usr/lib/one"], built=built, changes=[0, 5, 2**32 - 1], EPOCH=0))
    result = assigned(top)
    assert result["rpm/pkg"].built == (built or None)
    assert (CONTENT_EPOCH <= result.mtimes["usr/lib/one"] < CONTENT_END) == (built == 0)


def test_a_package_without_files_or_source(top):
    make(top, {"usr/lib/one": "1"})
    install(top, package("gpg-pubkey"), package("pkg", top, ["/usr/lib/one"], SOURCERPM=""))
    result = assigned(top)
    assert "rpm/gpg-pubkey" not in result.components
    assert result.owner["usr/lib/one"] == "rpm/pkg"


def test_full_paths_of_version_3(top):
    make(top, {"usr/lib/one": "1"})
    record = package("old", OLDFILENAMES=["/lib/one"], FILEMODES=[stat.S_IFREG | 0o644], FILESIZES=[1])
    install(top, record)
    assert assigned(top).owner["usr/lib/one"] == "rpm/old"


def test_names_that_are_not_utf8(top):
    name = os.fsdecode(b"caf\xe9")
    make(top, {f"usr/lib/{name}": "1"})
    install(top, package("pkg", top, [f"/usr/lib/{name}"]))
    assert assigned(top).paths["rpm/pkg"] == [f"usr/lib/{name}"]


def test_an_xattr_on_a_packaged_file_wins_and_the_package_still_describes_it(top):
    make(top, {"usr/lib/one": "1"}, mtime=BUILT - 10)
    xattr.setxattr(top / "usr/lib/one", "user.component", b"mine")
    install(top, package("pkg", top, ["/usr/lib/one"], changes=[7, 5]))
    result = assigned(top)
    assert result.owner["usr/lib/one"] == "xattr/mine"
    assert result.mtimes["usr/lib/one"] == BUILT - 10
    assert result["xattr/mine"].changes == (7, 5)


@pytest.mark.parametrize("broken", ["zz" * 32, "abc", " " * 64])
def test_a_broken_digest_costs_its_file_alone(top, broken):
    """The content of one file is believed to be what is recorded, that of the other is read."""
    make(top, {"usr/lib/a": "content", "usr/lib/b": "content"}, mtime=BUILT)
    good = hashlib.sha256(b"content").hexdigest()
    install(top, package("pkg", top, ["/usr/lib/a", "/usr/lib/b"], FILEDIGESTS=[good, broken]))
    before = assigned(top)["rpm/pkg"].fingerprint
    make(top, {"usr/lib/a": "CONTENT"}, mtime=BUILT)
    assert assigned(top)["rpm/pkg"].fingerprint == before
    make(top, {"usr/lib/b": "CONTENT"}, mtime=BUILT)
    assert assigned(top)["rpm/pkg"].fingerprint != before


@pytest.mark.parametrize("tag", ["FILEMODES", "FILEFLAGS", "FILEMTIMES", "FILESTATES", "FILESIZES"])
@pytest.mark.parametrize("kind", [(1, "B"), (3, "H"), (5, "Q")])
def test_numbers_of_another_width_do_not_end_the_build(top, monkeypatch, tag, kind):
    make(top, {"usr/lib/file": "content"}, mtime=BUILT)
    monkeypatch.setitem(rpm_headers.KINDS, getattr(rpm_header, tag), kind)
    most = 256 ** {"B": 1, "H": 2, "Q": 8}[kind[1]] - 1
    for value in (0, most):
        (top / DATABASE).unlink(missing_ok=True)
        install(top, package("pkg", top, ["/usr/lib/file"], **{tag: [value]}))
        result = assigned(top)
        installed = tag != "FILESTATES" or not value
        assert result.owner["usr/lib/file"] == ("rpm/pkg" if installed else "unclaimed/usr/lib")
