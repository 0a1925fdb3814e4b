"""The ownership rules of docs/components.md, one test for each that concerns system packages."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil

import pytest

from rechunk_podman.components import moved
from rechunk_podman.components.mtimes import CONTENT_END, CONTENT_EPOCH
from rechunk_podman.packages.rpm import header
from support.assigning import INSTALLED, assigned, make
from support.embedded import jar
from support.rpm_headers import package, sqlite_database

BUILT = 1_700_000_000
RPM = "usr/lib/sysimage/rpm/rpmdb.sqlite"
DPKG = "var/lib/dpkg"


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    (top / "usr/lib").mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    return top


def rpms(top, **packages):
    """Install packages that list these files as they are now."""
    records = [package(name, top, paths, built=BUILT) for name, paths in packages.items()]
    sqlite_database(top / RPM, records)


def debs(top, **packages):
    """Install packages: name -> (path -> content that the package has)."""
    status = []
    for name, files in packages.items():
        status.append(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n")
        sums = [f"{hashlib.md5(content.encode()).hexdigest()}  {path}\n" for path, content in files.items()]
        log = f"usr/share/doc/{name}/changelog.gz"
        paths = "".join(f"/{path}\n" for path in files)
        make(top, {f"{DPKG}/info/{name}.list": f"/.\n{paths}/{log}\n"})
        make(top, {f"{DPKG}/info/{name}.md5sums": "".join(sums)})
        make(top, {log: "no log"}, mtime=BUILT)
    make(top, {f"{DPKG}/status": "\n".join(status)})


def test_a_file_of_two_packages_is_the_first_ones(top):
    make(top, {"usr/lib/both": "1", "usr/lib/a": "a", "usr/lib/b": "b"}, mtime=BUILT)
    records = [
        package("b", top, ["/usr/lib/both", "/usr/lib/b"], built=BUILT - 1000),
        package("a", top, ["/usr/lib/both", "/usr/lib/a"], built=BUILT - 500),
    ]
    sqlite_database(top / RPM, records)
    result = assigned(top)
    assert result.owner["usr/lib/both"] == "rpm/a"
    # it also describes the file
    assert result.mtimes["usr/lib/both"] == BUILT - 500


def test_a_file_of_two_packages_is_of_the_one_whose_content_it_has(top):
    make(top, {"usr/lib/both": "of b", "usr/lib/a": "a", "usr/lib/b": "b"}, mtime=INSTALLED)
    files = {"usr/lib/both": "of a", "usr/lib/a": "a"}
    debs(top, a=files, b={"usr/lib/both": "of b", "usr/lib/b": "b"})
    result = assigned(top)
    assert result.owner["usr/lib/both"] == "dpkg/b"
    make(top, {"usr/lib/both": "nobody's"}, mtime=INSTALLED)
    assert assigned(top).owner["usr/lib/both"] == "unclaimed/usr/lib"


@pytest.mark.parametrize("content", ["of b", "of neither"])
@pytest.mark.parametrize("without", ["a", "b"])
def test_a_package_that_records_no_digest_yields_to_the_one_with_the_content(top, content, without):
    make(top, {"usr/lib/both": content, "usr/lib/a": "a", "usr/lib/b": "b"}, mtime=INSTALLED)
    other = "b" if without == "a" else "a"
    lists = {name: {"usr/lib/both": "of b", f"usr/lib/{name}": name} for name in ("a", "b")}
    debs(top, **lists)
    make(top, {f"{DPKG}/info/{without}.md5sums": ""})
    wanted = other if content == "of b" else without
    assert assigned(top).owner["usr/lib/both"] == f"dpkg/{wanted}"


def test_directories_of_many_packages_have_no_owner_but_empty_ones(top):
    (top / "usr/lib/empty").mkdir()
    make(top, {"usr/lib/a": "a", "usr/lib/b": "b"}, mtime=BUILT)
    rpms(top, b=["/usr/lib", "/usr/lib/empty", "/usr/lib/b"], a=["/usr/lib", "/usr/lib/empty", "/usr/lib/a"])
    result = assigned(top)
    assert "usr/lib" not in result.owner
    assert result.owner["usr/lib/empty"] == "rpm/a"


def test_a_replaced_file_changes_with_the_image(top):
    make(top, {"usr/lib/kept": "kept", "etc/config": "packaged"}, mtime=BUILT)
    rpms(top, a=["/usr/lib/kept", "/etc/config"])
    before = assigned(top)
    assert before.owner["etc/config"] == "rpm/a"
    make(top, {"etc/config": "edited"}, mtime=INSTALLED)
    after = assigned(top)
    assert after.owner["etc/config"] == "unclaimed/etc"
    assert CONTENT_EPOCH <= after.mtimes["etc/config"] < CONTENT_END
    assert after.paths["rpm/a"] == ["usr/lib/kept"]


def test_a_replaced_file_of_the_same_time_shows_by_its_size(top):
    make(top, {"usr/lib/kept": "kept", "etc/config": "packaged"}, mtime=BUILT)
    rpms(top, a=["/usr/lib/kept", "/etc/config"])
    make(top, {"etc/config": "edited by a tool that keeps times"}, mtime=BUILT)
    assert assigned(top).owner["etc/config"] == "unclaimed/etc"


def test_a_file_that_was_touched_alone_stays(top):
    make(top, {"usr/lib/kept": "kept"}, mtime=BUILT)
    rpms(top, a=["/usr/lib/kept"])
    before = assigned(top)["rpm/a"]
    os.utime(top / "usr/lib/kept", (INSTALLED, INSTALLED))
    assert assigned(top)["rpm/a"] == before


def test_a_replaced_file_stays_so_in_an_image_upon_this_one(top):
    """There its mtime is a hash of its content, and older than the package."""
    make(top, {"usr/lib/a": "a", "etc/config": "edited"}, mtime=INSTALLED)
    debs(top, a={"usr/lib/a": "a", "etc/config": "packaged"})
    result = assigned(top)
    assert result.owner["etc/config"] == "unclaimed/etc"
    for path, mtime in result.mtimes.items():
        os.utime(top / path, (mtime, mtime), follow_symlinks=False)
    assert assigned(top).owner == result.owner


def test_a_moved_and_renamed_file_is_found_by_size_and_content(top):
    make(top, {"boot/vmlinuz-6.1": "kernel image", "usr/lib/a": "a"}, mtime=BUILT)
    rpms(top, kernel_uki=["/boot/vmlinuz-6.1"], a=["/usr/lib/a"])
    (top / "usr/share/k").mkdir(parents=True)
    (top / "boot/vmlinuz-6.1").rename(top / "usr/share/k/image")
    result = assigned(top)
    assert result.owner["usr/share/k/image"] == "rpm/kernel_uki"
    assert result.mtimes["usr/share/k/image"] == BUILT


def test_ambiguous_empty_and_ghost_files_are_not_found_elsewhere(top):
    make(top, {"a/one": "same", "b/two": "same", "a/empty": "", "a/ghost": "ghost", "usr/lib/x": "x"}, BUILT)
    records = [
        package("a", top, ["/a/one", "/a/empty"], built=BUILT),
        package("b", top, ["/b/two"], built=BUILT),
        package("c", top, ["/a/ghost"], built=BUILT, FILEFLAGS=[header.FLAG_GHOST]),
    ]
    sqlite_database(top / RPM, records)
    (top / "n").mkdir()
    for number, path in enumerate(("a/one", "a/empty", "a/ghost")):
        (top / path).rename(top / f"n/{number}")
    (top / "b/two").unlink()
    result = assigned(top)
    assert {result.owner[f"n/{number}"] for number in range(3)} == {"unclaimed/n"}


def test_of_several_that_miss_a_content_its_base_name_decides(top):
    make(top, {"a/one": "same", "b/two": "same", "usr/lib/x": "x"}, mtime=BUILT)
    rpms(top, a=["/a/one"], b=["/b/two", "/usr/lib/x"])
    (top / "n").mkdir()
    (top / "b/two").rename(top / "n/two")
    (top / "a/one").unlink()
    assert assigned(top).owner["n/two"] == "rpm/b"


def test_a_file_that_another_package_manager_lists_was_not_moved(top):
    """Not the licence of an rpm whose distribution pip replaced, but what nobody lists."""
    site = "usr/lib/python3.11/site-packages"
    text, old, new = "The licence", f"{site}/idna-3.6.dist-info", f"{site}/idna-3.7.dist-info"
    make(top, {f"{old}/LICENSE": text, "usr/lib/kept": "kept"}, mtime=BUILT)
    rpms(top, idna=[f"/{old}/LICENSE", "/usr/lib/kept"])
    shutil.rmtree(top / old)
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    record = f"idna-3.7.dist-info/LICENSE,sha256={digest},{len(text)}\n"
    make(top, {f"{new}/LICENSE": text, f"{new}/RECORD": record, "opt/LICENSE": text})
    owner = assigned(top).owner
    assert owner[f"{new}/LICENSE"] == "python/usr/idna"
    assert owner["opt/LICENSE"] == "rpm/idna"


def test_a_moved_archive_is_not_the_artifact_it_says(top):
    """Archives and programs are asked for their own records last."""
    content = jar({"META-INF/maven/o/tool/pom.properties": "groupId=o\nartifactId=tool\nversion=1\n"})
    make(top, {"usr/share/java/tool.jar": content, "usr/lib/x": "x"}, mtime=BUILT)
    rpms(top, jtool=["/usr/share/java/tool.jar", "/usr/lib/x"])
    (top / "opt").mkdir()
    (top / "usr/share/java/tool.jar").rename(top / "opt/tool.jar")
    make(top, {"opt/other.jar": content + b"\0"}, mtime=BUILT)
    owner = assigned(top).owner
    assert owner["opt/tool.jar"] == "rpm/jtool"
    assert owner["opt/other.jar"].startswith("jvm/")


def test_moved_files_of_databases_without_sizes_are_found_by_their_contents(top, monkeypatch):
    """Under their own names, and under others from 4 KiB on; the smallest first, some bytes in all."""
    monkeypatch.setattr(moved, "MOST_SEARCHED", 30_000)
    contents = {
        "etc/a.conf": "a",
        "usr/lib/b": "b" * 9000,
        "usr/lib/c": "c" * 20_000,
        "usr/share/man/d": "d" * 5000,
    }
    make(top, {"usr/lib/here": "h"}, mtime=BUILT)
    debs(top, tools={"usr/lib/here": "h", "usr/lib/empty": "", **contents})
    there = ("usr/etc/a.conf", "opt/b2", "opt/c2", "opt/d2", "opt/e2")
    make(top, dict(zip(there, [*contents.values(), ""], strict=True)), mtime=BUILT)
    make(top, {"opt/other": "?" * 6000}, mtime=BUILT)
    owner = assigned(top).owner
    assert [owner[path] for path in there] == ["dpkg/tools"] * 2 + ["unclaimed/opt"] * 3
    assert assigned(top).mtimes["usr/etc/a.conf"] == BUILT


@pytest.mark.parametrize(("flags", "algorithm"), [("", "sha1"), ("f:S\n", "sha256")])
def test_a_moved_file_of_apk_is_found(top, flags, algorithm):
    """Digests of SHA-256 are recorded in part."""
    digest = base64.b64encode(hashlib.new(algorithm, b"tool").digest()[:20]).decode()
    record = f"P:tool\nV:1-r0\nA:x86\nt:{BUILT}\n{flags}F:usr/bin\nR:tool\nZ:Q1{digest}\n\n"
    make(top, {"lib/apk/db/installed": record, "opt/tool": "tool"}, mtime=BUILT)
    assert assigned(top).owner["opt/tool"] == "apk/tool"


def test_a_copy_of_a_packages_file_is_not_the_packages(top):
    make(top, {"usr/lib/skeleton": "same"}, mtime=BUILT)
    rpms(top, a=["/usr/lib/skeleton"])
    make(top, {"root/skeleton": "same"}, mtime=BUILT)
    assert assigned(top).owner["root/skeleton"] == "unclaimed/root"


def test_hard_links_across_components_are_one(top):
    make(top, {"usr/lib/b": "1"}, mtime=BUILT)
    os.link(top / "usr/lib/b", top / "usr/lib/a")
    os.link(top / "usr/lib/b", top / "usr/lib/c")
    rpms(top, z=["/usr/lib/a"], y=["/usr/lib/b"])
    owner = assigned(top).owner
    assert owner["usr/lib/a"] == owner["usr/lib/b"] == owner["usr/lib/c"] == "rpm/y"


def test_a_compat_symlink_is_followed_and_is_its_packages(top):
    make(top, {"usr/lib/a": "a"}, mtime=BUILT)
    rpms(top, filesystem=["/lib"], a=["/lib/a"])
    owner = assigned(top).owner
    assert (owner["lib"], owner["usr/lib/a"]) == ("rpm/filesystem", "rpm/a")


def test_etc_in_usr_etc(top):
    make(top, {"etc/same": "1", "etc/edited": "before"}, mtime=BUILT)
    rpms(top, a=["/etc/same", "/etc/edited"])
    make(top, {"etc/edited": "after"}, mtime=INSTALLED)
    (top / "etc").rename(top / "usr/etc")
    owner = assigned(top).owner
    assert owner["usr/etc/same"] == "rpm/a"
    assert owner["usr/etc/edited"] == "unclaimed/usr/etc"


def test_build_ids_are_their_packages(top):
    make(top, {"usr/bin/tool": "tool"}, mtime=BUILT)
    link = top / "usr/lib/.build-id/ab/cdef"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../bin/tool")
    rpms(top, b=["/usr/lib/.build-id/ab/cdef"], a=["/usr/bin/tool", "/usr/lib/.build-id/ab/cdef"])
    assert assigned(top).owner["usr/lib/.build-id/ab/cdef"] == "rpm/a"


@pytest.mark.parametrize("etc", ["etc", "usr/etc"])
def test_alternatives_are_of_the_package_that_they_lead_to(top, etc):
    make(top, {"usr/bin/vim.basic": "vim", "usr/bin/nano": "nano"}, mtime=BUILT)
    debs(top, vim={"usr/bin/vim.basic": "vim"}, nano={"usr/bin/nano": "nano"})
    page = "usr/share/man/man1/editor.1"
    record = f"auto\n/usr/bin/editor\neditor.1\n/{page}\n\n/usr/bin/vim.basic\n30\n"
    make(top, {f"{DPKG}/alternatives/editor": record, "var/lib/alternatives/editor": "auto\n"})
    (top / page).parent.mkdir(parents=True)
    (top / page).symlink_to("/etc/alternatives/editor.1")
    (top / etc / "alternatives").mkdir(parents=True)
    (top / etc / "alternatives/editor").symlink_to("/usr/bin/vim.basic")
    (top / etc / "alternatives/editor.1").symlink_to("/usr/share/man/man1/vim.1")
    (top / etc / "alternatives/gone").symlink_to("/usr/bin/gone")
    (top / "usr/bin/editor").symlink_to("/etc/alternatives/editor")
    (top / "usr/bin/loop").symlink_to("/etc/alternatives/../../usr/bin/loop")
    (top / "usr/bin/other").symlink_to("nano")
    owner = assigned(top).owner
    assert owner[f"{etc}/alternatives/editor"] == owner["usr/bin/editor"] == "dpkg/vim"
    assert owner["var/lib/alternatives/editor"] == "dpkg/vim"
    # the manual page is left out, and the records know whose it would be
    assert owner[page] == owner[f"{etc}/alternatives/editor.1"] == "dpkg/vim"
    assert owner[f"{DPKG}/alternatives/editor"] == "database/dpkg"
    # other links say nothing of their target's package
    assert owner["usr/bin/other"] == owner["usr/bin/loop"] == "unclaimed/usr/bin"
    assert owner[f"{etc}/alternatives/gone"].startswith("unclaimed/")


def test_records_of_alternatives_that_are_none(top, tmp_path):
    """Nothing outside of the root filesystem is read, and no FIFO is opened."""
    record = "auto\n/usr/bin/x\nx.1\n/usr/share/man/x.1\n\n"
    make(tmp_path, {"outside/x": record})
    make(top, {"usr/bin/saw": "saw", f"{DPKG}/alternatives/odd": b"\xff\n" * 7}, mtime=BUILT)
    debs(top, saw={"usr/bin/saw": "saw"})
    (top / DPKG / "alternatives/x").symlink_to(tmp_path / "outside/x")
    os.mkfifo(top / DPKG / "alternatives/y")
    (top / "etc/alternatives").mkdir(parents=True)
    (top / "etc/alternatives/x").symlink_to("/usr/bin/saw")
    (top / "etc/alternatives/x.1").symlink_to("/usr/share/man/saw.1")
    owner = assigned(top).owner
    assert owner["etc/alternatives/x"] == "dpkg/saw"
    assert owner["etc/alternatives/x.1"] == "unclaimed/etc"
    (top / DPKG / "alternatives/x").unlink()
    make(top, {f"{DPKG}/alternatives/x": record})
    assert assigned(top).owner["etc/alternatives/x.1"] == "dpkg/saw"


def test_the_links_of_busybox_are_busyboxs(top):
    make(top, {"bin/busybox": "b"}, mtime=BUILT)
    (top / "bin/ls").symlink_to("/bin/busybox")
    debs(top, busybox={"bin/busybox": "b"})
    assert assigned(top).owner["bin/ls"] == "dpkg/busybox"
