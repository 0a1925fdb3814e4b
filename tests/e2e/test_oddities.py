"""Build rare files from a directory: none is lost, no link is followed, errors name their cause."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import oddities
from rechunk_podman.model import Entry, Kind
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.tar import entry_header
from support import compare, tools
from support.needs import unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small root filesystem to spoil."""
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/hostname").write_text("here\n")
    return folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every oddity, in a directory: what no import has touched."""
    if os.geteuid() != 0:
        unavailable("needs root, for device nodes and owners")
    folder = tmp_path_factory.mktemp("oddities")
    oddities.make(folder)
    return folder


def build(root: Path, layout: Path, *options: str, check: bool = True) -> tools.Done:
    """`build` into an uncompressed OCI layout, which is validated."""
    command = (
        *tools.RECHUNK,
        "build",
        "--rootfs",
        root,
        "--output",
        f"oci:{layout}",
        "--compression",
        "none",
    )
    done = tools.run(*command, *options, check=check)
    if done.code == 0:
        validate(f"oci:{layout}").check()
    return done


def layers(layout: Path) -> Iterator[tarfile.TarFile]:
    """The layers of a layout, bottom first, as Python's own tarfile reads them."""
    blobs = layout / "blobs/sha256"
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"][7:], encoding="utf-8", errors="surrogateescape") as tar:
            yield tar


def members(layout: Path) -> dict[str, tarfile.TarInfo]:
    """Path -> its last entry in the layers of a layout."""
    return {entry.name.removeprefix("./").rstrip("/"): entry for tar in layers(layout) for entry in tar}


def test_everything_comes_back(odd: Path, tmp_path: Path) -> None:
    """GNU tar unpacks the layers of a directory into the same directory."""
    build(odd, tmp_path / "layout")
    target = tmp_path / "target"
    target.mkdir()
    for tar in layers(tmp_path / "layout"):
        assert isinstance(tar.name, str)
        options = ("--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*")
        tools.run("tar", "--extract", *options, f"--file={tar.name}", f"--directory={target}")
    assert compare.differences(odd, target) == []


def test_verify_sees_a_directory_and_its_image(odd: Path, tmp_path: Path) -> None:
    build(odd, tmp_path / "layout")
    tools.run(*tools.RECHUNK, "verify", odd, f"oci:{tmp_path / 'layout'}")


@pytest.mark.parametrize("change", ["content", "mode", "owner", "xattr", "link", "missing", "added"])
def test_verify_sees_each_change(odd: Path, tmp_path: Path, change: str) -> None:
    """If one path differs, verify names it."""
    build(odd, tmp_path / "layout")
    copy = tmp_path / "copy"
    tools.run("cp", "--archive", odd, copy)
    name = "sizes/513"
    file = copy / name
    match change:
        case "content":
            file.write_bytes(b"!" + file.read_bytes()[1:])
        case "mode":
            file.chmod(0o640)
        case "owner":
            os.chown(file, 5, 5)
        case "xattr":
            os.setxattr(file, "user.new", b"1")
        case "link":
            file.unlink()
            file.hardlink_to(copy / "sizes/512")
        case "missing":
            file.unlink()
        case "added":
            name = "sizes/added"
            (copy / name).touch()
    done = tools.run(*tools.RECHUNK, "verify", copy, f"oci:{tmp_path / 'layout'}", check=False)
    assert done.code == 1
    assert name in done.out + done.err


def test_times(odd: Path, tmp_path: Path) -> None:
    """Constant, content-derived or kept: never the day of the build."""
    build(odd, tmp_path / "layout", "--keep-mtime", "times/nanoseconds")
    entries = members(tmp_path / "layout")
    assert {entry.mtime for entry in entries.values() if entry.isdir()} == {0}
    assert {entry.mtime for entry in entries.values() if entry.issym()} == {1}
    assert entries["python/module.py"].mtime == oddities.WHEN + 7
    assert entries["times/nanoseconds"].mtime == oddities.WHEN
    assert entries["times/before-1970"].mtime > 0
    # equal content, equal time; other content, another time
    assert entries["links/empty"].mtime == entries["sizes/0"].mtime
    assert entries["sizes/512"].mtime != entries["sizes/513"].mtime


def test_hard_links_repeat_their_target(odd: Path, tmp_path: Path) -> None:
    """Mode, owner, mtime and xattrs again, after the target, in the same layer."""
    build(odd, tmp_path / "layout")
    links = 0
    for tar in layers(tmp_path / "layout"):
        before: dict[str, tarfile.TarInfo] = {}
        for entry in tar:
            if entry.islnk():
                links += 1
                target = before[entry.linkname]
                assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (
                    target.mode,
                    target.uid,
                    target.gid,
                    target.mtime,
                )
                xattrs = {key: value for key, value in entry.pax_headers.items() if key.startswith("SCHILY")}
                assert xattrs == {k: v for k, v in target.pax_headers.items() if k.startswith("SCHILY")}
            before[entry.name] = entry
    assert links == 8


def test_symlinks_lead_nowhere_outside(root: Path, tmp_path: Path) -> None:
    """A database, a directory and a file that are links to the host: nothing of the host gets in."""
    outside = tmp_path / "outside"
    (outside / "info").mkdir(parents=True)
    (outside / "status").write_text(
        "Package: canary\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    )
    (outside / "info/canary.list").write_text("/etc/hostname\n")
    (outside / "secret").write_text("the host's canary")
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/dpkg").symlink_to(outside)
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/sysimage").symlink_to("../../../outside")
    (root / "etc/shadow").symlink_to(outside / "secret")
    done = tools.run(*tools.RECHUNK, "build", "--rootfs", root, "--plan-only", "--json")
    assert "canary" not in done.out
    build(root, tmp_path / "layout")
    entries = members(tmp_path / "layout")
    assert entries["var/lib/dpkg"].linkname == str(outside)
    assert not [name for name in entries if "secret" in name or "info" in name]
    for blob in (tmp_path / "layout/blobs/sha256").iterdir():
        assert b"the host's canary" not in blob.read_bytes()


def test_sockets_are_named(root: Path, tmp_path: Path) -> None:
    """An error by default, left out with --skip-special-files, and then FIFOs as well."""
    os.mkfifo(root / "etc/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "etc/the-socket"))
        done = build(root, tmp_path / "layout", check=False)
        assert done.code == 1
        assert "etc/the-socket" in done.err
        assert "--skip-special-files" in done.err
        assert not (tmp_path / "layout").exists()
        build(root, tmp_path / "layout", "--skip-special-files")
    assert set(members(tmp_path / "layout")) - {".", ""} == {"etc", "etc/hostname"}


@pytest.mark.parametrize("name", [".wh.hostname", ".wh..wh..opq", "dir/.wh.x/y"])
def test_whiteouts_are_refused(root: Path, tmp_path: Path, name: str) -> None:
    """Every client would take the file for a deletion."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()
    done = build(root, tmp_path / "layout", check=False)
    assert done.code == 1
    assert name.rpartition("/")[2] in done.err or ".wh.x" in done.err
    assert list(tmp_path.iterdir()) == [root]


def test_a_device_that_deletes_is_refused(root: Path, tmp_path: Path) -> None:
    """A character device 0:0 is overlay's whiteout."""
    if os.geteuid() != 0:
        unavailable("needs root, for a device node")
    os.mknod(root / "etc/gone", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    done = build(root, tmp_path / "layout", check=False)
    assert done.code == 1
    assert "etc/gone" in done.err


def test_an_xattr_name_with_an_equals_sign_is_refused(root: Path, tmp_path: Path) -> None:
    os.setxattr(root / "etc/hostname", "user.a=b", b"1")
    done = build(root, tmp_path / "layout", check=False)
    assert done.code == 1
    assert "user.a=b" in done.err
    assert "etc/hostname" in done.err


def test_attributes_of_storage_stay_behind(root: Path, tmp_path: Path) -> None:
    """Harmless ones with a warning; an opaque mark in an image would hide all lower layers of the client."""
    for name in (
        "user.overlay.origin",
        "user.containers.override_stat",
        "user.fuseoverlayfs.origin",
        "user.kept",
    ):
        os.setxattr(root / "etc", name, b"y")
    assert "left out at /etc" in build(root, tmp_path / "layout").err
    assert {key for key in members(tmp_path / "layout")["etc"].pax_headers if "xattr" in key} == {
        "SCHILY.xattr.user.kept"
    }
    os.setxattr(root / "etc", "user.fuseoverlayfs.opaque", b"y")
    done = build(root, tmp_path / "refused", check=False)
    assert done.code == 1
    assert "hide files: /etc" in done.err


def test_root_and_pruning(root: Path, tmp_path: Path) -> None:
    """`/` is 0755 unless told; PATH goes with what it holds, of PATH/ the directory stays."""
    root.chmod(0o700)
    for name in ("var/cache/a", "var/log/b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    build(root, tmp_path / "one", "--prune", "/var/cache", "--prune", "/var/log/")
    entries = members(tmp_path / "one")
    roots = [entry for name, entry in entries.items() if name in ("", ".")]
    assert [(entry.mode, entry.uid, entry.mtime) for entry in roots] == [(0o755, 0, 0)]
    assert set(entries) - {"", "."} == {"etc", "etc/hostname", "var", "var/log"}
    build(root, tmp_path / "two", "--root-mode", "0711")
    assert [entry.mode for name, entry in members(tmp_path / "two").items() if name in ("", ".")] == [0o711]


@pytest.mark.parametrize("size", [(8 << 30) - 1, 8 << 30, (8 << 30) + 513, 1 << 44])
def test_sizes_beyond_octal(size: int) -> None:
    """Other readers find the size of 8 GiB and more (tests/compat writes such a file for real)."""
    entry = Entry(Kind.FILE, 0o644, 0, 0, size, 0, 1, 1, 1, None, None, ())
    header = entry_header("large", entry, 0)
    with tarfile.open(fileobj=io.BytesIO(header)) as tar:
        assert [(found.name, found.size) for found in [tar.next()] if found] == [("large", size)]
    listing = subprocess.run(["tar", "-tv"], input=header, capture_output=True, check=False)
    assert f" {size} ".encode() in listing.stdout
