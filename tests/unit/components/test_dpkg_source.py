"""Components from dpkg's database."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest

from rechunk_podman.components.mtimes import CONTENT_EPOCH
from rechunk_podman.packages.dpkg import text as dpkg_text
from support.assigning import INSTALLED, assigned, make

BUILT = 1_700_000_000
ADMIN = "var/lib/dpkg"


def log(*dates):
    lines = [
        f"pkg (1.{number}) unstable; urgency=low\n\n  * x\n\n -- A <a@b>  {when}\n"
        for number, when in enumerate(dates)
    ]
    return gzip.compress("\n".join(lines).encode())


def stanza(name, **fields):
    fields = {"Status": "install ok installed", "Architecture": "amd64", "Version": "1.0-1", **fields}
    return "\n".join([f"Package: {name}", *(f"{key}: {value}" for key, value in fields.items())]) + "\n"


def md5(content):
    return hashlib.md5(content.encode()).hexdigest()


class Debian:
    """Packages as dpkg leaves them in a root filesystem."""

    def __init__(self, top):
        self.top = top
        self.status = ""
        (top / "usr/lib").mkdir(parents=True)
        (top / "lib").symlink_to("usr/lib")
        make(top, {f"{ADMIN}/info/format": "1\n"})

    def install(self, name, files, *, stem=None, changelog=None, mtime=BUILT - 100, listed=None, **fields):
        """files: absolute path -> content."""
        make(self.top, {path.lstrip("/"): content for path, content in files.items()}, mtime)
        paths = ["/.", "/usr", *(listed or files)]
        info = f"{ADMIN}/info/{stem or name}"
        if changelog:
            path = f"usr/share/doc/{name}/changelog.Debian.gz"
            make(self.top, {path: changelog}, mtime)
            paths.append("/" + path)
        sums = "".join(f"{md5(content)}  {path.lstrip('/')}\n" for path, content in files.items())
        make(self.top, {f"{info}.list": "\n".join(paths) + "\n", f"{info}.md5sums": sums})
        self.status += stanza(name, **fields) + "\n"
        return self

    def assigned(self, **options):
        make(self.top, {f"{ADMIN}/status": self.status})
        return assigned(self.top, **options)


@pytest.fixture
def debian(tmp_path):
    return Debian(tmp_path / "root")


def test_packages_are_grouped_by_source_with_its_version(debian):
    debian.install(
        "libfoo1", {"/usr/lib/one": "1"}, stem="libfoo1:amd64", Source="foo (2.0-3)", Version="2.0-3+b1"
    )
    debian.install("foo-tools", {"/usr/lib/two": "2"}, Source="foo", Version="2.0-3")
    result = debian.assigned()
    assert result["dpkg/foo"].version == "2.0-3"
    assert result.owner["usr/lib/one"] == result.owner["usr/lib/two"] == "dpkg/foo"


def test_a_source_of_several_versions_names_all_in_their_order(debian):
    for number, version in enumerate(["6.1.128-1", "6.1.27-1", "6.1.128-1"]):
        debian.install(f"linux-{number}", {f"/usr/lib/{number}": "x"}, Source="linux", Version=version)
    old = {"Status": "deinstall ok config-files", "Source": "linux", "Version": "6.1.9-1"}
    debian.install("linux-old", {}, **old)
    assert debian.assigned()["dpkg/linux"].version == "6.1.27-1 6.1.128-1"


def test_info_files_belong_to_their_package_the_rest_is_the_database(debian):
    debian.install("libfoo1", {"/usr/lib/one": "1"}, stem="libfoo1:amd64", Source="foo")
    debian.install("python3.11", {"/usr/lib/two": "2"})
    info = f"{ADMIN}/info"
    make(
        debian.top,
        {
            f"{info}/libfoo1:amd64.postinst": "x",
            f"{info}/python3.11.postinst": "x",
            f"{info}/gone.list": "/.\n",
            f"{ADMIN}/status-old": "x",
            f"{ADMIN}/lock": "",
            f"{ADMIN}/triggers/File": "x",
            "var/lib/apt/extended_states": "x",
        },
    )
    result = debian.assigned()
    assert result.owner[f"{info}/libfoo1:amd64.postinst"] == "dpkg/foo"
    assert result.owner[f"{info}/libfoo1:amd64.list"] == "dpkg/foo"
    assert result.owner[f"{info}/python3.11.postinst"] == "dpkg/python3.11"
    assert result.paths["database/dpkg"] == [
        "var/lib/apt/extended_states",
        f"{info}/format",
        f"{info}/gone.list",
        f"{ADMIN}/lock",
        f"{ADMIN}/status",
        f"{ADMIN}/status-old",
        f"{ADMIN}/triggers/File",
    ]
    assert result["database/dpkg"].interval is not None
    # of no package: their time is their content's
    assert result.mtimes[f"{info}/python3.11.list"] < CONTENT_EPOCH + 2**28


def test_paths_through_directory_symlinks(debian):
    debian.install("foo", {"/usr/lib/one": "1"}, listed=["/lib", "/lib/one"])
    result = debian.assigned()
    assert result.owner["usr/lib/one"] == "dpkg/foo"
    assert result.owner["lib"] == "dpkg/foo"


def test_diversions(debian):
    debian.install("dash", {"/usr/bin/sh.distrib": "dash"}, listed=["/usr/bin/sh"])
    debian.install("bash", {"/usr/bin/sh": "bash"})
    debian.install("local", {"/usr/bin/tool.real": "tool"}, listed=["/usr/bin/tool"])
    make(debian.top, {"usr/bin/tool": "wrapper"})
    make(
        debian.top,
        {
            f"{ADMIN}/diversions": "/usr/bin/sh\n/usr/bin/sh.distrib\nbash\n"
            "/usr/bin/tool\n/usr/bin/tool.real\n:\n"
        },
    )
    owner = debian.assigned().owner
    assert owner["usr/bin/sh.distrib"] == "dpkg/dash"
    assert owner["usr/bin/sh"] == "dpkg/bash"
    assert owner["usr/bin/tool.real"] == "dpkg/local"
    assert owner["usr/bin/tool"] == "unclaimed/usr/bin"


def test_the_newest_of_all_changelogs_is_the_build_time(debian):
    debian.install(
        "foo",
        {"/usr/lib/one": "1"},
        changelog=log("Tue, 14 Nov 2023 22:13:20 +0000", "Sat, 01 Jan 2022 00:00:00 +0200"),
    )
    binnmu = "usr/share/doc/foo/changelog.Debian.amd64.gz"
    make(debian.top, {binnmu: log("Wed, 15 Nov 2023 22:13:20 -0100")})
    listing = debian.top / ADMIN / "info/foo.list"
    listing.write_text(listing.read_text() + f"/{binnmu}\n")
    component = debian.assigned()["dpkg/foo"]
    assert component.built == BUILT + 86400 + 3600
    assert component.changes == (BUILT + 90000, BUILT, 1640995200 - 7200)


def test_a_documentation_directory_that_is_a_symlink_to_anothers(debian):
    debian.install("foo", {"/usr/lib/one": "1"}, changelog=log("Tue, 14 Nov 2023 22:13:20 +0000"))
    debian.install("bar", {"/usr/lib/two": "2"})
    (debian.top / "usr/share/doc/bar").symlink_to("foo")
    assert debian.assigned()["dpkg/bar"].built == BUILT


def test_without_changelogs_the_newest_file_that_the_installation_did_not_stamp(debian):
    debian.install("foo", {"/usr/lib/one": "1"}, mtime=BUILT)
    debian.install("foo-data", {"/usr/lib/two": "2"}, mtime=BUILT - 50, Source="foo")
    make(debian.top, {"usr/lib/one": "1"}, mtime=BUILT)
    # rewritten by a script after the installation
    make(debian.top, {"usr/lib/two": "two"}, mtime=INSTALLED + 5)
    assert debian.assigned()["dpkg/foo"].built == BUILT


def test_where_the_installation_stamped_everything_content_decides_the_times(debian):
    debian.install("foo", {"/usr/lib/one": "1"}, mtime=INSTALLED)
    result = debian.assigned()
    assert result["dpkg/foo"].built is None
    assert result.mtimes["usr/lib/one"] < CONTENT_EPOCH + 2**28


def test_without_changelogs_on_top_of_an_image_of_ours(debian):
    """There the lists have content-derived times, older than any package."""
    debian.install("foo", {"/usr/lib/one": "1"}, mtime=BUILT)
    os.utime(debian.top / ADMIN / "info/foo.list", (CONTENT_EPOCH + 5, CONTENT_EPOCH + 5))
    assert debian.assigned()["dpkg/foo"].built == BUILT


def test_an_untouched_file_is_not_read_a_touched_one_is(debian):
    debian.install("foo", {"/usr/lib/one": "one"}, changelog=log("Tue, 14 Nov 2023 22:13:20 +0000"))
    before = debian.assigned()["dpkg/foo"]
    make(debian.top, {"usr/lib/one": "ONE"}, mtime=BUILT - 100)
    assert debian.assigned()["dpkg/foo"] == before
    make(debian.top, {"usr/lib/one": "ONE"}, mtime=BUILT + 100)
    after = debian.assigned()["dpkg/foo"]
    assert after.fingerprint != before.fingerprint
    make(debian.top, {"usr/lib/one": "one"}, mtime=BUILT)
    read = debian.assigned()["dpkg/foo"].fingerprint
    os.utime(debian.top / "usr/lib/one", (BUILT + 100, BUILT + 100))
    assert debian.assigned()["dpkg/foo"].fingerprint == read


def test_config_files_have_their_digests_in_the_status(debian):
    conffiles = f"\n /etc/foo.conf {md5('text')}\n /etc/old.conf {md5('x')} obsolete"
    log_ = log("Tue, 14 Nov 2023 22:13:20 +0000")
    debian.install(
        "foo",
        {"/usr/lib/one": "1"},
        listed=["/usr/lib/one", "/etc/foo.conf"],
        changelog=log_,
        Conffiles=conffiles,
    )
    make(debian.top, {"etc/foo.conf": "text"}, mtime=BUILT - 5)
    before = debian.assigned()
    assert before.owner["etc/foo.conf"] == "dpkg/foo"
    make(debian.top, {"etc/foo.conf": "TEXT"}, mtime=BUILT - 5)
    assert debian.assigned()["dpkg/foo"] == before["dpkg/foo"]


def test_distroless(tmp_path):
    place = f"{ADMIN}/status.d"
    make(tmp_path, {"usr/lib/one": "1", "usr/lib/two": "2", "usr/lib/three": "3"}, mtime=BUILT)
    (tmp_path / "usr/lib/link").symlink_to("two")
    make(
        tmp_path,
        {
            f"{place}/libone1": "Package: libone1\nVersion: 1.0\nArchitecture: amd64\nSource: one\n",
            f"{place}/libone1.md5sums": f"{md5('1')}  usr/lib/one\n",
            f"{place}/two": "Package: two\nVersion: 2.0\nArchitecture: all\n",
            f"{place}/two.list": "/.\n/usr\n/usr/lib/two\n/usr/lib/link\n",
            f"{place}/two.md5sums": f"{md5('2')}  usr/lib/two\n",
        },
    )
    result = assigned(tmp_path)
    assert result.paths["dpkg/one"] == ["usr/lib/one", f"{place}/libone1", f"{place}/libone1.md5sums"]
    assert result["dpkg/one"].built == BUILT
    assert result.paths["dpkg/two"][:2] == ["usr/lib/link", "usr/lib/two"]
    assert result.owner["usr/lib/three"] == "unclaimed/usr/lib"


def test_broken_records_cost_themselves(debian, caplog):
    debian.install("foo", {"/usr/lib/one": "1"})
    debian.status += "Version: 3\nStatus: install ok installed\n\n" + stanza("bad", Source="a b c (") + "\n"
    debian.status += "Package: listless\nStatus: install ok installed\nVersion: 1\n\n"
    make(debian.top, {"usr/share/doc/foo/changelog.gz": b"no gzip"})
    result = debian.assigned()
    assert result.owner["usr/lib/one"] == "dpkg/foo"
    for word in ("bad", "listless", "changelog.gz"):
        assert word in caplog.text


def test_the_order_of_records_does_not_matter(debian):
    debian.install("b", {"/usr/lib/b": "1", "/usr/lib/shared": "s"}, Source="b (1)", Version="1+b1")
    debian.install(
        "a", {"/usr/lib/a": "1"}, listed=["/usr/lib/a", "/usr/lib/shared"], Source="c", Version="2"
    )
    debian.install("c", {"/usr/lib/c": "1"}, Version="10")
    first = debian.assigned()
    debian.status = "\n\n".join(reversed(debian.status.strip().split("\n\n"))) + "\n"
    second = debian.assigned()
    assert first.owner == second.owner
    for ident in ("dpkg/b", "dpkg/c"):
        assert first[ident] == second[ident]


def test_paths_that_no_file_can_have_are_of_no_file(debian):
    debian.install("foo", {"/usr/lib/one": "1"})
    make(debian.top, {f"{ADMIN}/info/foo.list": b"/usr\n/usr/lib/\0\n/../../etc\n//\n/usr/lib/one\n"})
    assert debian.assigned().owner["usr/lib/one"] == "dpkg/foo"


def test_a_removed_package_keeps_what_its_list_still_names(debian):
    debian.install("foo", {"/etc/foo.conf": "1"}, Status="deinstall ok config-files")
    debian.install("bar", {"/etc/bar.conf": "1"}, Status="unknown ok not-installed")
    owner = debian.assigned().owner
    assert owner["etc/foo.conf"] == "dpkg/foo"
    assert owner["etc/bar.conf"] == "unclaimed/etc"


def test_a_database_elsewhere(debian):
    debian.install("foo", {"/usr/lib/one": "1"})
    debian.assigned()
    (debian.top / "usr/lib/sysimage").mkdir()
    (debian.top / ADMIN).rename(debian.top / "usr/lib/sysimage/dpkg")
    (debian.top / ADMIN).symlink_to("../../usr/lib/sysimage/dpkg")
    owner = assigned(debian.top).owner
    assert owner["usr/lib/one"] == "dpkg/foo"
    assert owner["usr/lib/sysimage/dpkg/status"] == "database/dpkg"


# The pure parsers


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("Thu, 01 Jan 1970 00:00:01 +0000", 1),
        ("Mon, 15 Jan 2024 10:11:12 +0530", 1705293672),
        ("Mon, 15 Jan 2024 10:11:12 -0800", 1705342272),
        ("Mon,  5 Jan 2024 10:11:12 +0000", 1704449472),
        ("Fri, 30 Feb 2024 00:00:00 +0000", None),
        ("Fri, 30 Foo 2024 00:00:00 +0000", None),
        ("yesterday", None),
    ],
)
def test_changelog_dates(line, time):
    assert dpkg_text.changelog_times(dpkg_text.changelog(log(line))) == ([] if time is None else [time])


def test_an_upstream_changelog_has_no_times():
    assert dpkg_text.changelog(gzip.compress(b"Version 3\n* fixed things\n" * 1000)) == b""


def test_a_damaged_changelog():
    with pytest.raises(ValueError, match="rror"):
        dpkg_text.changelog(gzip.compress(b"x" * 100)[:9] + b"\xff" * 50)


def test_md5sums_and_stanzas():
    assert dpkg_text.md5sums(f"{md5('x')}  ./usr/a b\n{md5('y')} *usr/c\nnonsense\n\n".encode()) == {
        "usr/a b": md5("x"),
        "usr/c": md5("y"),
    }
    for plain in (f"{md5('x')}  usr/a b\n{md5('y')}  usr/c", f"{md5('x')}  usr/a b\n{md5('y')}  usr/c\n"):
        assert dpkg_text.md5sums(plain.encode()) == {"usr/a b": md5("x"), "usr/c": md5("y")}
    wrong = f"{'g' * 32}  usr/a\n{md5('y')}  usr/c\n{md5('x')[:30]}    usr/d\n"
    assert dpkg_text.md5sums(wrong.encode()) == {"usr/c": md5("y")}
    assert dpkg_text.md5sums(b"") == {}
    assert dpkg_text.paths(b"/.\n/usr\n/usr/a b\n") == ["usr", "usr/a b"]
    assert dpkg_text.paths(b"/.\nusr\n\n/usr/a\n/usr/b") == ["usr/a", "usr/b"]
    assert dpkg_text.paths(b"") == dpkg_text.paths(b"/.\n") == []
    data = b"Package: a\nTag: d\n e\nConffiles: x\n more\n .\n\n\n continued\nPackage: b\nno colon\n lost\n"
    assert list(dpkg_text.stanzas(data)) == [
        {"package": "a", "conffiles": "x\nmore\n."},
        {"package": "b"},
    ]
