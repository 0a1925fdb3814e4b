"""verify(): every kind of difference is found, and nothing else is reported."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.explain.files import read_tree_of, verify
from support.needs import needs_root
from support.oci_material import Layout, archive_of, make_tar, member, odd_rootfs, run

NOT_UTF8 = "etc/not-utf8-\udcff\udcfe"
pytestmark = needs_root


@pytest.fixture
def pair(tmp_path):
    """A directory with everything in it, and a copy."""
    odd_rootfs(tmp_path / "a")
    run("cp", "-a", tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def differences(pair, **options):
    return verify(read_tree_of(str(pair[0])), read_tree_of(str(pair[1])), **options)


def found(pair, **options):
    return {(difference.path, difference.what) for difference in differences(pair, **options).entries}


def test_a_copy_is_the_same(pair):
    result = differences(pair)
    assert result.same
    assert (result.entries, result.root, result.mtimes) == ((), (), 0)
    assert result.paths > 20


def swap(path, kind):
    mode = path.stat().st_mode
    path.unlink()
    os.mknod(path, 0o20666, kind)
    path.chmod(mode & 0o7777)


CHANGES = {
    "content": (lambda b: (b / "etc/owned").write_text("y"), {("etc/owned", "content")}),
    "same size and time": (
        lambda b: ((b / "etc/owned").write_text("y"), os.utime(b / "etc/owned", (1, 1))),
        {("etc/owned", "content")},
    ),
    "linked content": (
        lambda b: (b / "usr/bin/tool").write_bytes(b"new"),
        # writing drops setuid and capabilities, of all names of the file
        {
            (path, what)
            for path in ("usr/bin/tool", "usr/bin/alias", "etc/alias")
            for what in ("content", "xattrs")
        },
    ),
    "mode": (lambda b: (b / "etc/deep").chmod(0o755), {("etc/deep", "mode")}),
    "sticky bit": (lambda b: (b / "tmp").chmod(0o777), {("tmp", "mode")}),
    "owner": (lambda b: os.chown(b / "etc/owned", 1234567, 1), {("etc/owned", "owner")}),
    "owner of a symlink": (lambda b: os.lchown(b / "lib", 5, 5), {("lib", "owner")}),
    "xattr value": (
        lambda b: os.setxattr(b / "etc/attributes", "user.raw", b"\x00"),
        {("etc/attributes", "xattrs")},
    ),
    "xattr gone": (lambda b: os.removexattr(b / "etc/deep", "user.directory"), {("etc/deep", "xattrs")}),
    "xattr new": (lambda b: os.setxattr(b / "tmp", "user.new", b"1"), {("tmp", "xattrs")}),
    "target": (lambda b: ((b / "lib").unlink(), (b / "lib").symlink_to("usr/lib64")), {("lib", "target")}),
    "device": (
        lambda b: swap(b / "etc/null", os.makedev(1, 5)),
        {("etc/null", "device")},
    ),
    "type": (
        lambda b: ((b / "lib").unlink(), (b / "lib").mkdir()),
        {("lib", "type"), ("lib", "mode")},
    ),
    "missing": (lambda b: (b / "etc/fifo").unlink(), {("etc/fifo", "missing")}),
    "new": (lambda b: (b / "etc/new").touch(), {("etc/new", "missing")}),
    "subtree": (
        lambda b: shutil.rmtree(b / "etc/deep"),
        {("etc/deep", "missing"), ("etc/deep/er", "missing")},
    ),
    "link broken": (
        lambda b: (
            run("cp", "-a", b / "etc/alias", b / "t"),
            (b / "etc/alias").unlink(),
            (b / "t").rename(b / "etc/alias"),
        ),
        # the group's first path left it: the other two are now a group without it
        {("usr/bin/alias", "links"), ("usr/bin/tool", "links")},
    ),
    "link new": (
        lambda b: ((b / "etc/empty").unlink(), os.link(b / "etc/owned", b / "etc/empty")),
        {("etc/empty", "content"), ("etc/empty", "owner"), ("etc/owned", "links")},
    ),
    "link missing": (lambda b: (b / "etc/alias").unlink(), {("etc/alias", "missing")}),
    "not UTF-8": (
        lambda b: (b / NOT_UTF8).unlink(),
        {(NOT_UTF8, "missing")},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_alone(pair, name):
    change, expected = CHANGES[name]
    umask = os.umask(0o022)
    change(pair[1])
    os.umask(umask)
    assert found(pair) == expected
    # and seen from the other side
    assert found(pair[::-1]) == expected


def test_both_sides_are_shown(pair):
    (pair[1] / "etc/deep").chmod(0o700)
    (difference,) = differences(pair).entries
    assert (difference.a, difference.b) == ("0750", "0700")


def test_times_and_the_root_are_apart(pair):
    for name in ("etc/owned", "tmp", "etc"):
        os.utime(pair[1] / name, (77, 77))
    pair[1].chmod(0o700)
    result = differences(pair)
    assert result.same
    assert result.mtimes == 3
    assert {difference.path for difference in result.mtime_examples} == {"etc", "etc/owned", "tmp"}
    assert [(difference.path, difference.what) for difference in result.root] == [("", "mode")]


def test_attributes_of_machines_are_left_out_and_selinux_on_demand(tmp_path):
    """Images, since a scan leaves them out already."""
    trees = []
    for number, label in enumerate(("a", "b")):
        layout = Layout(tmp_path / label)
        pax = {f"SCHILY.xattr.{name}": f"{number}" for name in ("trusted.x", "security.evm")}
        pax["SCHILY.xattr.security.selinux"] = f"label{number}"
        layout.layer(make_tar([member("x", pax=pax)]))
        trees.append(read_tree_of(str(layout.finish())))
    assert verify(*trees).same
    result = verify(*trees, selinux=True)
    assert [difference.what for difference in result.entries] == ["xattrs"]
    assert "security.selinux=0x" in (result.entries[0].a or "")


def test_ignored_paths(pair):
    shutil.rmtree(pair[1] / "etc/deep")
    (pair[1] / "tmp/new").touch()
    (pair[1] / "etc/owned").write_text("y")
    assert found(pair, ignore=["/etc", "/tmp/"]) == set()
    assert found(pair, ignore=["/etc/deep", "/tmp"]) == {("etc/owned", "content")}
    assert found(pair, ignore=["/etc/de", "/tmp/"]) >= {("etc/deep", "missing")}
    (pair[1] / "tmp").chmod(0o700)
    assert found(pair, ignore=["/etc", "/tmp/"]) == {("tmp", "mode")}
    for wrong in ("etc", "/", "/../x", ""):
        with pytest.raises(UsageError):
            differences(pair, ignore=[wrong])


def test_special_files_can_be_left_out(pair):
    for name in ("fifo", "null", "block"):
        (pair[1] / "etc" / name).unlink()
    assert len(found(pair)) == 3
    assert found(pair, skip_special_files=True) == set()


def test_sockets_are_an_error_of_the_scan(pair):
    os.mknod(pair[1] / "socket", 0o140755)
    with pytest.raises(RootfsError):
        read_tree_of(str(pair[1]))
    assert verify(*(read_tree_of(str(path), skip_special_files=True) for path in pair)).same


# The command


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "rechunk_podman", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_on_every_kind_of_operand(pair, tmp_path):
    layout = Layout(tmp_path / "layout")
    run(
        "tar", "-C", pair[0], "--format=pax", "--xattrs", "--xattrs-include=*", "-cf", tmp_path / "t.tar", "."
    )
    layout.layer((tmp_path / "t.tar").read_bytes()).finish()
    archive_of(layout.path, tmp_path / "o.tar")
    run("skopeo", "--insecure-policy", "copy", "oci:layout", "docker-archive:d.tar:x:1", cwd=tmp_path)
    for operand in (
        "layout",
        "oci:layout",
        "o.tar",
        "oci-archive:o.tar",
        "d.tar",
        "docker-archive:d.tar:x:1",
        "b",
    ):
        done = command("verify", "a", operand, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"a and {operand}\n")
    (pair[1] / "etc/deep").chmod(0o700)
    done = command("verify", "b", "layout", cwd=tmp_path)
    assert done.returncode == 1
    assert "/etc/deep: mode: 0700 -> 0750" in done.stdout.splitlines()
    done = command("verify", "--json", "b", "layout", cwd=tmp_path)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["same"] is False
    assert document["differences"] == [{"path": "etc/deep", "what": "mode", "a": "0700", "b": "0750"}]
    assert command("verify", "--ignore-prune", "/etc/deep", "b", "layout", cwd=tmp_path).returncode == 0


def test_what_is_ignored_may_be_what_no_image_holds(pair, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    (tmp_path / "s").rename(pair[0] / "etc" / "socket")
    done = command("verify", "a", "b", cwd=tmp_path)
    assert (done.returncode, "sockets: /etc/socket" in done.stderr) == (1, True)
    for path in ("/etc/socket", "/etc/"):
        done = command("verify", "--ignore-prune", path, "a", "b", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_odd_names_are_printed_as_one_line(pair, tmp_path):
    (pair[1] / "etc/newline\nand space").unlink()
    (pair[1] / NOT_UTF8).unlink()
    lines = command("verify", "a", "b", cwd=tmp_path).stdout.splitlines()
    assert "/etc/newline\\nand space: missing: file -> -" in lines
    assert "/etc/not-utf8-\\xff\\xfe: missing: file -> -" in lines


def test_wrong_calls(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "file").write_text("text")
    for operand, code, message in (
        ("./absent", 2, "no such file"),
        ("oci:absent", 2, "no such file"),
        ("oci:d", 2, "not an OCI layout"),
        ("docker://127.0.0.1:1/x", 1, "the registry of docker://127.0.0.1:1/x cannot be reached"),
        ("file", 1, "file"),
        ("localhost/no-such-image:0", 2, "no image"),
    ):
        done = command("verify", "d", operand, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert command("verify", "d", cwd=tmp_path).returncode == 2


def test_validate_command(tmp_path):
    layout = Layout(tmp_path / "layout").layer(make_tar([member("a/b")]))
    layout.finish()
    done = command("validate", "layout", cwd=tmp_path)
    assert done.returncode == 0
    assert "[parent]" in done.stdout
    assert "layout: sound; 1 image, 3 blobs" in done.stdout
    assert command("validate", "--strict", "layout", cwd=tmp_path).returncode == 1
    done = command("validate", "--strict", "--json", "layout", cwd=tmp_path)
    assert done.returncode == 1
    assert [problem["code"] for problem in json.loads(done.stdout)["errors"]] == ["parent"]
    assert command("validate", "absent", cwd=tmp_path).returncode == 2


def test_local_image(pair, tmp_path, monkeypatch):
    conf = tmp_path / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/g"\nrunroot = "{tmp_path}/r"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    layout = Layout(tmp_path / "layout")
    run(
        "tar", "-C", pair[0], "--format=pax", "--xattrs", "--xattrs-include=*", "-cf", tmp_path / "t.tar", "."
    )
    layout.layer((tmp_path / "t.tar").read_bytes()).finish()
    name = "localhost/odd:verify"
    run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout.path}", f"containers-storage:{name}")
    for operand in (name, f"containers-storage:{name}"):
        done = command("verify", operand, "layout", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(run("podman", "image", "mount", "--format", "json")) in ([], None)
