"""Tar headers: the bytes, against other readers of the format."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest

from rechunk_podman.model import Entry, Kind
from rechunk_podman.oci.write.tar import (
    END,
    directory_header,
    entry_header,
    file_header,
    file_header_size,
    header,
    pax_record,
)

GIB = 1 << 30


def entry(kind=Kind.FILE, **values):
    defaults = {
        "kind": kind,
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": 0,
        "mtime": 1_600_000_000,
        "dev": 1,
        "ino": 1,
        "nlink": 1,
        "target": None,
        "rdev": None,
        "xattrs": (),
    }
    return Entry(**{**defaults, **values})


def read(data):
    """Return the member that Python's tarfile reads from one header without content."""
    with tarfile.open(fileobj=io.BytesIO(data + END), encoding="utf-8", errors="surrogateescape") as archive:
        return archive.next()


def through_gnu_tar(data):
    """Return the exit code of `tar --list`, and its line for each entry."""
    done = subprocess.run(
        [
            "tar",
            "--list",
            "--verbose",
            "--numeric-owner",
            "--full-time",
            "--utc",
            "--quoting-style=literal",
            "-f-",
        ],
        input=data + END,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert not done.stderr, done.stderr
    assert done.returncode == 0
    return done.stdout.rstrip(b"\n")


def checksum(block):
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:512])


def test_a_plain_file_is_one_ustar_block():
    data = entry_header("usr/bin/true", entry(mode=0o4755, uid=12, gid=34, size=26120), 1_500_000_000)
    assert len(data) == 512
    assert data[257:265] == b"ustar\x0000"
    assert int(data[148:154], 8) == checksum(data)
    info = read(data)
    assert (info.name, info.mode, info.uid, info.gid) == ("usr/bin/true", 0o4755, 12, 34)
    assert (info.size, info.mtime, info.type, info.uname, info.gname) == (26120, 1_500_000_000, b"0", "", "")
    assert not info.pax_headers


@pytest.mark.parametrize(
    ("kind", "type_flag", "values"),
    [
        (Kind.DIRECTORY, tarfile.DIRTYPE, {}),
        (Kind.SYMLINK, tarfile.SYMTYPE, {"target": "../to/it"}),
        (Kind.FIFO, tarfile.FIFOTYPE, {}),
        (Kind.CHAR, tarfile.CHRTYPE, {"rdev": (4095, 1048575)}),
        (Kind.BLOCK, tarfile.BLKTYPE, {"rdev": (8, 1)}),
    ],
)
def test_other_kinds(kind, type_flag, values):
    data = entry_header("some/name", entry(kind, **values), 1)
    info = read(data)
    assert (info.name, info.type, info.linkname) == ("some/name", type_flag, values.get("target", ""))
    assert (info.devmajor, info.devminor) == values.get("rdev", (0, 0))
    assert info.size == 0
    assert through_gnu_tar(data).startswith({5: b"d", 2: b"l", 6: b"p", 3: b"c", 4: b"b"}[int(type_flag)])


def test_directories_end_in_a_slash_and_the_root_is_a_dot():
    assert entry_header("usr/lib", entry(Kind.DIRECTORY), 0).startswith(b"usr/lib/\0")
    assert entry_header("", entry(Kind.DIRECTORY), 0).startswith(b"./\0")


def test_a_hard_link_repeats_the_metadata_of_its_target():
    xattrs = (("security.capability", b"\1\0\0\2\0\x20" + bytes(14)),)
    target = entry(mode=0o2755, uid=5, gid=6, size=1234, xattrs=xattrs)
    data = entry_header("b", target, 77, link="dir/a")
    info = read(data)
    assert (info.type, info.linkname, info.size) == (tarfile.LNKTYPE, "dir/a", 0)
    assert (info.mode, info.uid, info.gid, info.mtime) == (0o2755, 5, 6, 77)
    assert b"SCHILY.xattr.security.capability=\1\0\0\2" in data


@pytest.mark.parametrize("length", range(90, 270))
def test_long_names(length):
    path = ("d" * 40 + "/" + "e" * 70 + "/" + "f" * 300)[:length]
    if path.endswith("/"):
        path = path[:-1] + "x"
    for kind in (Kind.FILE, Kind.DIRECTORY):
        data = entry_header(path, entry(kind), 0)
        assert read(data).name == path
        assert (len(data) > 512) == (len(path) - 112 + (kind is Kind.DIRECTORY) > 100)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("a" * 100, True),
        ("a" * 101, False),
        ("p" * 155 + "/" + "n" * 100, True),
        ("p" * 156 + "/" + "n" * 99, False),
        ("p" * 155 + "/" + "n" * 101, False),
        ("p" * 100 + "/" + "q" * 54 + "/" + "n" * 100, True),
        ("/".join("abcdefghijklmnopqrstuvwxyz" * 10), False),
        ("a b\nc\t\x01\x7f", True),
    ],
)
def test_names_are_split_where_ustar_can(path, plain):
    data = entry_header(path, entry(), 0)
    assert (len(data) == 512) is plain
    assert read(data).name == path


@pytest.mark.parametrize("path", ["bücher/größe", "\udcff\udcfe", "日本語" * 40, "x\udc80" * 60, "é"])
def test_names_that_are_not_ascii_are_pax_records_of_raw_bytes(path):
    raw = os.fsencode(path)
    data = entry_header(path, entry(Kind.SYMLINK, target=path + "/x"), 1)
    assert pax_record(b"path", raw) in data
    assert pax_record(b"linkpath", raw + b"/x") in data
    assert (read(data).name, read(data).linkname) == (path, path + "/x")
    assert data.isascii() is False
    assert data[-512:].isascii()
    assert through_gnu_tar(data).endswith(raw + b" -> " + raw + b"/x")


@pytest.mark.parametrize("size", [8 * GIB - 1, 8 * GIB, 20 * GIB + 1])
def test_sizes_of_eight_gibibytes_and_more(size):
    data = entry_header("big", entry(size=size), 1)
    assert read(data[: len(data)]).size == size
    assert (len(data) == 512) is (size < 8 * GIB)


@pytest.mark.parametrize("owner", [0, 2097151, 2097152, 4_294_967_294])
def test_large_owners(owner):
    data = entry_header("file", entry(uid=owner, gid=owner), 1)
    assert (read(data).uid, read(data).gid) == (owner, owner)
    assert (len(data) == 512) is (owner <= 2097151)
    assert b" %d/%d " % (owner, owner) in through_gnu_tar(data)


@pytest.mark.parametrize("mtime", [-(10**9), -1, 0, 1, 8**11 - 1, 8**11])
def test_times(mtime):
    data = entry_header("file", entry(), mtime)
    assert read(data).mtime == mtime
    assert (len(data) == 512) is (0 <= mtime < 8**11)


def test_xattrs_are_raw_and_sorted():
    xattrs = (
        ("system.posix_acl_access", b"\2\0\0\0\1\0\7\0\xff\xff"),
        ("user.a", b""),
        ("user.ü", b"1\n2=3\0"),
    )
    data = entry_header("file", entry(xattrs=xattrs), 1)
    records = [pax_record(b"SCHILY.xattr." + os.fsencode(name), value) for name, value in xattrs]
    assert b"".join(records) in data
    assert b"hdrcharset" not in data
    names = [name for name in read(data).pax_headers if name.startswith("SCHILY.xattr.")]
    assert len(names) >= 2  # Python drops what is empty


@pytest.mark.parametrize("length", [*range(110), *range(960, 1010), *range(9960, 10010)])
def test_the_length_of_a_pax_record_counts_itself(length):
    record = pax_record(b"k", b"v" * length)
    digits, _, rest = record.partition(b" ")
    assert int(digits) == len(record)
    assert rest == b"k=" + b"v" * length + b"\n"


def test_checksums_of_the_largest_headers():
    data = header(b"\x7f" * 100, b"2", 0o7777, 0o7777777, 0o7777777, 8**11 - 1, 8**11 - 1, b"\x7f" * 100)
    assert int(data[148:154], 8) == checksum(data)
    data = header(b"\x7f" * 155 + b"/" + b"\x7f" * 100, b"2", 0, 0, 0, 0, 0, b"\x7f" * 100)
    assert int(data[148:154], 8) == checksum(data)


def test_gnu_tar_reads_everything_in_one_archive():
    parts = [
        entry_header("dir", entry(Kind.DIRECTORY, mode=0o1777), 0),
        entry_header("dir/" + "n" * 250, entry(size=3, xattrs=(("user.x", b"\xff"),)), 5),
        b"abc".ljust(512, b"\0"),
        entry_header("dir/\udcff", entry(uid=3_000_000_000), -5),
        entry_header("dir/link", entry(), 5, link="dir/\udcff"),
    ]
    lines = through_gnu_tar(b"".join(parts)).split(b"\n")
    assert [line.split(b":00 ", 1)[-1] if b":00 " in line else line for line in lines]
    assert lines[0].startswith(b"drwxrwxrwt 0/0 ")
    assert lines[1].endswith(b"dir/" + b"n" * 250)
    assert b" 3 1970-01-01 00:00:05" in lines[1]
    assert b"3000000000/0" in lines[2]
    assert b"1969-12-31 23:59:55" in lines[2]
    assert lines[3].endswith(b"dir/link link to dir/\xff")


def test_headers_of_our_own_archives():
    info = read(file_header("blobs/sha256/" + "0" * 64, 9 * GIB))
    assert (info.name, info.size, info.mode, info.mtime) == ("blobs/sha256/" + "0" * 64, 9 * GIB, 0o644, 0)
    for size in (0, 8 * GIB - 1, 8 * GIB, 10**12):
        assert file_header_size(77, size) == len(file_header("y" * 77, size))
    assert read(directory_header("blobs")).isdir()
