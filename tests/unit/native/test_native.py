"""The extension in C: what it refuses, and how it fails."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import socket
import sys

import numpy as np
import pytest

from rechunk_podman.model import NUMBERS, Entry, Kind, make_entry
from rechunk_podman.native import (
    TarStream,
    open_directory,
    path_starts,
    read_directories,
    read_files,
    ustar,
)
from rechunk_podman.oci.write.tar import entry_header
from rechunk_podman.pathtable import PathTable, path_key

SOCKET = len(Kind)


@pytest.fixture
def top(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_bytes(b"content" * 1000)
    (tmp_path / "a/link").symlink_to("file")
    return tmp_path


@pytest.fixture
def root(top):
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def listed(root, *directories, ignored=()):
    """Path -> Entry, or its kind where it has none; directories to follow; what has to be looked at."""
    found, follow, look = {}, [], []
    for directory in directories:
        entries, below, odd = walked(root, [directory], ignored)
        found.update(entries)
        follow += below
        look += odd
    return found, follow, look


def walked(root, directories, ignored=(), pruned=(), most=1):
    """Return the entries like listed(), with those below; each is in the directory that it names."""
    text, numbers, parents, more, below, odd = read_directories(root, directories, ignored, pruned, most)
    paths = list(PathTable(text))
    rows = np.frombuffer(numbers, np.int64).reshape(-1, len(NUMBERS)).tolist()
    assert len(rows) == len(paths)
    for path, parent in zip(paths, np.frombuffer(parents, np.int64).tolist(), strict=True):
        assert path.rpartition("/")[0] == (paths[parent] if parent >= 0 else directories[-1 - parent])
    entries = {
        path: SOCKET if row[0] == SOCKET else make_entry(row, *filter(None, [more.get(place)]))
        for place, (path, row) in enumerate(zip(paths, rows, strict=True))
    }
    left = [paths[place] if place >= 0 else directories[-1 - place] for place in below]
    return entries, left, [paths[place] for place in odd]


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_what_directories_hold(top, root):
    entries, below, odd = listed(root, "", "a")
    assert sorted(entries) == ["a", "a/b", "a/file", "a/link"]
    assert (sorted(below), odd) == (["a", "a/b"], [])
    status = (top / "a/file").lstat()
    assert entries["a/file"] == Entry(
        Kind.FILE,
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        7000,
        int(status.st_mtime),
        status.st_dev,
        status.st_ino,
        1,
        None,
        None,
        (),
    )
    assert entries["a/file"].kind is Kind.FILE
    assert entries["a/link"].target == "file"
    assert entries["a/b"].size == 0


def test_what_has_to_be_looked_at(top, root):
    os.setxattr(top / "a/file", "user.b", b"\0\xff")
    os.setxattr(top / "a/file", "user.a", b"")
    os.setxattr(top / "a/b", "user.ignored", b"1")
    os.setxattr(top / "a/b", "user.prefix.any", b"1")
    os.setxattr(top / "a/file", "user.ignored", b"1")
    (top / "a/.wh.x").mkdir()
    os.mkfifo(top / "a/fifo")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(top / "a/end"))
    entries, below, odd = listed(root, "a", ignored=(b"user.ignored", b"user.prefix."))
    assert sorted(entries) == ["a/.wh.x", "a/b", "a/end", "a/fifo", "a/file", "a/link"]
    assert (below, sorted(odd)) == (["a/b"], ["a/.wh.x", "a/end", "a/fifo", "a/file"])
    assert entries["a/file"].xattrs == (("user.a", b""), ("user.b", b"\0\xff"))
    assert entries["a/end"] == SOCKET
    assert entries["a/fifo"].kind is Kind.FIFO


@pytest.fixture
def deep(tmp_path):
    """Some directories within each other, one of them with an attribute."""
    for number in range(40):
        folder = tmp_path / f"{number % 3}/{number % 7}/ü{number}"
        folder.mkdir(parents=True)
        (folder / "file").touch()
    os.setxattr(tmp_path / "1/2", "user.component", b"x")
    return tmp_path


@pytest.mark.parametrize("most", [-1, 1, 5, 30, 1 << 20])
def test_what_is_below_is_read_until_there_is_enough(deep, most):
    root = os.open(deep, os.O_PATH | os.O_DIRECTORY)
    found, pending, calls = {}, [""], 0
    while pending:
        entries, below, odd = walked(root, pending, most=most)
        assert not entries.keys() & found.keys()
        found.update(entries)
        pending = below + odd  # a directory, the only one
        calls += 1
    os.close(root)
    assert found.keys() == {str(path.relative_to(deep)) for path in deep.rglob("*")}
    assert (calls > 10) == (most < 10)


def test_directories_that_are_pruned_are_not_read(deep):
    root = os.open(deep, os.O_PATH | os.O_DIRECTORY)
    entries, below, odd = walked(root, [""], pruned=(b"0", "1/1/ü1".encode(), b"gone", b"2/"), most=1 << 20)
    os.close(root)
    assert (below, odd) == ([], ["1/2"])
    assert {"0", "1/1/ü1", "2/2/ü2/file", "1/2"} <= entries.keys()
    assert not [path for path in entries if path.startswith(("0/", "1/1/ü1/", "1/2/"))]


def test_a_directory_below_that_cannot_be_read_is_named(deep):
    root = os.open(deep, os.O_PATH | os.O_DIRECTORY)
    deep.chmod(0o755)
    (deep / "2/2/ü2").chmod(0)
    before = open_files()
    pid = os.fork()
    if not pid:
        if os.geteuid() == 0:  # who is refused nothing
            os.setuid(65534)
        try:
            walked(root, [""], most=1 << 20)
        except PermissionError as error:
            os._exit(7 if error.filename == "2/2/ü2" else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert open_files() == before
    os.close(root)


@pytest.mark.parametrize(
    "path", ["gone", "a/file", "a/link", "a/link/x", "..", ".", "a/..", "a//b", "a/", "/a"]
)
def test_a_directory_that_is_none_is_named(root, path):
    before = open_files()
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        listed(root, "a", path)
    assert caught.value.filename == path
    assert open_files() == before


def test_names_that_are_too_long(root):
    with pytest.raises(OSError, match="too long"):
        listed(root, "x" * 256)


def test_directories_deeper_than_any_limit(tmp_path):
    """Deeper than the handles that are kept, and than a path may be long."""
    fd = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(fd)
    depth, name = 300, "n" * 40
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
    os.write(here_file := os.open("file", os.O_WRONLY, dir_fd=here), b"deep")
    os.close(here_file)
    os.close(here)
    found, pending = {}, [""]
    while pending:
        entries, pending, _ = listed(fd, *pending)
        found.update(entries)
    path = "/".join([name] * depth + ["file"])
    assert len(found) == depth + 1
    assert found[path].size == 4
    shallow = "/".join([name] * 3)
    tar = read_all(
        fd, [(path, found[path], 0, None), (shallow, found[shallow], 0, None), (path, found[path], 0, None)]
    )
    assert tar.count(b"deep" + bytes(508)) == 2
    os.close(fd)


@pytest.mark.parametrize(
    "arguments",
    [
        (["a"],),
        (["a"], (), ()),
        (("a",), (), (), 1),
        ([b"a"], (), (), 1),
        (["a"], ("text",), (), 1),
        (["a"], [b"user.a"], (), 1),
        (["a"], (), ("text",), 1),
        (["a"], (), [b"a"], 1),
        (["a"], (), (), "1"),
    ],
)
def test_wrong_arguments(root, arguments):
    with pytest.raises((TypeError, ValueError)):
        read_directories(root, *arguments)


def members(root, *directories):
    entries, _, _ = listed(root, *directories)
    return [(path, entry, 0, None) for path, entry in sorted(entries.items())]


def joined(paths):
    return b"".join([path_key(path) + b"\0" for path in paths])


def tar_stream(root, paths, *arguments, **keywords):
    """The TarStream of a list of paths."""
    return TarStream(root, joined(paths), path_starts(joined(paths)), *arguments, **keywords)


def stream_of(root, rows, make_header=entry_header):
    """The TarStream of (path, Entry, mtime, link); an empty path is the root itself."""
    inner = [row for row in rows if row[0]]
    text = joined(path for path, *_ in inner)
    positions = itertools.accumulate(bool(path) for path, *_ in rows)
    return TarStream(
        root,
        text,
        path_starts(text),
        np.array([entry[: len(NUMBERS)] for _, entry, *_ in inner], np.int64).tobytes(),
        {place: row[1][len(NUMBERS) :] for place, row in enumerate(inner)},
        np.array([at - 1 if row[0] else -1 for at, row in zip(positions, rows, strict=True)], np.int64),
        np.array([mtime for _, _, mtime, _ in inner], np.int64).tobytes(),
        {place: row[3] for place, row in enumerate(rows) if row[3] is not None},
        lambda place: make_header(*rows[place]),
    )


def read_all(root, rows, piece=1000):
    stream = stream_of(root, rows)
    buffer = bytearray(max(piece, 1))
    found = []
    while count := stream.fill(buffer, piece):
        found.append(bytes(buffer[:count]))
    assert stream.fill(buffer, piece) == 0
    data = b"".join(found)
    assert len(data) == stream.size
    return data


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 7000, 1 << 20])
def test_the_pieces_make_no_difference(root, piece):
    rows = members(root, "", "a")
    expected = b""
    for path, entry, mtime, link in rows:
        content = b"content" * 1000 if path == "a/file" else b""
        expected += entry_header(path, entry, mtime, link) + content + bytes(-len(content) % 512)
    assert read_all(root, rows, piece) == expected + bytes(1024)


def test_a_header_that_ustar_cannot_hold_is_asked_for(root):
    asked = []

    def header(*row):
        asked.append(row[0])
        return entry_header(*row)

    (entry,) = (entry for path, entry, *_ in members(root, "a") if path == "a/b")
    rows = [
        ("d" * 99, entry, 0, None),
        ("d" * 100, entry, 0, None),
        ("ä", entry, 0, None),
        ("late", entry, 8**11, None),
        ("early", entry, -1, None),
        ("user", entry._replace(uid=8**7), 0, None),
        ("group", entry._replace(gid=8**7), 0, None),
        ("attributes", entry._replace(xattrs=(("user.a", b"1"),)), 0, None),
        ("link", entry._replace(kind=Kind.SYMLINK, target="t" * 101), 0, None),
        ("hard", entry, 0, "ö"),
        ("", entry, 0, None),
        ("plain", entry._replace(uid=8**7 - 1, kind=Kind.CHAR, rdev=(1, 3)), 8**11 - 1, None),
    ]
    stream = stream_of(root, rows, header)
    assert asked == [row[0] for row in rows if row[0] not in ("d" * 99, "plain")]
    assert stream.size == sum(len(entry_header(*row)) for row in rows) + 1024


def broken(*_):
    raise RuntimeError("no header")


ROW = bytes(8 * len(NUMBERS))


@pytest.mark.parametrize(
    "arguments",
    [
        (["a"], ROW, {}, bytes(8), bytes(8), {}),
        ([], ROW, {}, bytes(8), bytes(8), {}, broken),
        (["a", "b"], ROW, {}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW[:-8], {}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW + ROW, {}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {}, bytes(8), bytes(7), {}, broken),
        (["a"], ROW, {}, bytes(7), bytes(7), {}, broken),
        (["a"], ROW, {}, bytes(8), bytes(16), {}, broken),
        (["a"], ROW, {}, (1).to_bytes(8, "little"), bytes(8), {}, broken),
        (["a"], ROW, {}, (-2).to_bytes(8, "little", signed=True), bytes(8), {}, broken),
        (["a"], b"\x07" + ROW[1:], {}, bytes(8), bytes(8), {}, broken),
        (["a"], bytes([255] * 8) + ROW[8:], {}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW[:32] + bytes([255] * 8) + ROW[40:], {}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: None}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: (None, None)}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: (1, None, ())}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: (None, 7, ())}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: (None, (1,), ())}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {0: (None, None, 5)}, bytes(8), bytes(8), {}, broken),
        (["a"], ROW, {}, bytes(8), bytes(8), {0: 1}, broken),
        (["ä"], ROW, {}, bytes(8), bytes(8), {}, lambda place: "text"),
        (["ä"], ROW, {}, bytes(8), bytes(8), {}, lambda place: b""),
        (["ä"], ROW, {}, bytes(8), bytes(8), {}, None),
    ],
)
def test_wrong_members(root, arguments):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        tar_stream(root, *arguments)


def test_an_error_of_the_header_arrives(root):
    with pytest.raises(RuntimeError, match="no header"):
        tar_stream(root, ["ä"], ROW, {}, bytes(8), bytes(8), {}, broken)
    with pytest.raises(TypeError):
        tar_stream(root, [], b"", {}, b"", b"", {}, broken, more=1)


def test_wrong_buffers(root):
    stream = stream_of(root, [])
    for buffer, limit in ((bytearray(5), 6), (bytearray(5), -1)):
        with pytest.raises(ValueError, match="buffer"):
            stream.fill(buffer, limit)
    with pytest.raises(TypeError):
        stream.fill(b"12345", 5)
    assert stream.fill(bytearray(), 0) == 0
    assert stream.fill(bytearray(2000), 2000) == 1024


def test_a_failure_closes_everything_and_is_the_end(top, root):
    rows = members(root, "a")
    before = open_files()
    stream = stream_of(root, rows)
    (top / "a/file").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        stream.fill(bytearray(10_000), 10_000)
    assert caught.value.filename == "a/file"
    assert open_files() == before
    with pytest.raises(ValueError, match="failed"):
        stream.fill(bytearray(10_000), 10_000)


def test_a_stream_that_is_dropped_halfway_closes_its_files(root):
    before = open_files()
    stream = stream_of(root, members(root, "a"))
    assert stream.fill(bytearray(3000), 3000) == 3000
    assert open_files() > before
    del stream
    assert open_files() == before


def test_contents_of_files(top, root):
    (top / "empty").touch()
    (top / "größe").write_text("ä")
    found = [(path, (top / path).stat()) for path in ("größe", "a/file", "empty", "a/file")]
    files = [(path, status.st_size, int(status.st_mtime)) for path, status in found]
    assert read_files(root, files) == "ä".encode() + b"content" * 1000 + b"content" * 1000
    assert read_files(root, []) == b""


@pytest.mark.parametrize(
    ("path", "size", "mtime", "what"),
    [
        ("a/file", 6999, 0, "changed"),
        ("a/file", 7001, 0, "changed"),
        ("a/file", 7000, 1, "changed"),
        ("a/b", 0, 0, "irregular"),
    ],
)
def test_a_file_that_is_not_what_was_scanned(top, root, path, size, mtime, what):
    before = open_files()
    seen = int((top / path).stat().st_mtime) + mtime
    with pytest.raises(LookupError) as caught:
        read_files(root, [("a/file", 7000, int((top / "a/file").stat().st_mtime)), (path, size, seen)])
    assert caught.value.args == (what, path)
    assert open_files() == before


@pytest.mark.parametrize("path", ["gone", "a/link", "a/link/x", "../x", "a/../a/file", "", "a/"])
def test_a_file_that_is_none_is_named(root, path):
    with pytest.raises((OSError, LookupError)) as caught:
        read_files(root, [(path, 1, 0)])
    assert path in (getattr(caught.value, "filename", None), caught.value.args[-1])


@pytest.mark.parametrize(
    "files",
    [None, [None], [("a", 1)], [("a", -1, 0)], [(b"a", 1, 0)], [("a", 2**63 - 1, 0), ("a", 2**63 - 1, 0)]],
)
def test_wrong_files(root, files):
    with pytest.raises((TypeError, ValueError, MemoryError)):
        read_files(root, files)


def test_ustar_refuses_what_it_cannot_hold():
    values = (b"0", 0o644, 0, 0, 0, 0)
    assert len(ustar(b"n" * 100, *values, b"t" * 100, 0, 0, b"p" * 155)) == 512
    for name, target, prefix in ((b"n" * 101, b"", b""), (b"", b"t" * 101, b""), (b"", b"", b"p" * 156)):
        with pytest.raises(ValueError, match="ustar"):
            ustar(name, *values, target, 0, 0, prefix)


@pytest.mark.parametrize("offset", [0, 64, 512, 1000, (1 << 15) - 1, (1 << 15) + 512])
@pytest.mark.parametrize("size", [0, 7, 1 << 15, 300_001])
@pytest.mark.parametrize("piece", [1, 1000, 1 << 15, 100_000, 1 << 20])
def test_a_stream_is_written_to_a_file(tmp_path, size, offset, piece):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_bytes(random.Random(size).randbytes(size))
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    rows = members(root, "d")
    expected = read_all(root, rows)
    if len(expected) // piece > 10_000:
        piece = 100
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    stream = stream_of(root, rows)
    buffer = bytearray(piece)
    taken = 0
    while count := stream.fill(buffer, piece, target, offset + taken):
        assert buffer[:count] == expected[taken : taken + count]
        taken += count
    assert os.fstat(target).st_size == offset + len(expected)
    assert os.pread(target, len(expected) + 1, offset) == expected
    os.close(target)
    os.close(root)


def test_a_target_that_cannot_be_written(root):
    full = os.open("/dev/full", os.O_WRONLY)
    before = open_files()
    stream = stream_of(root, members(root, "a"))
    with pytest.raises(ValueError, match="negative"):
        stream.fill(bytearray(5), 5, full, -1)
    with pytest.raises(OSError, match="No space") as caught:
        stream.fill(bytearray(10_000), 10_000, full, 0)
    assert caught.value.filename is None
    assert open_files() == before
    os.close(full)
    with pytest.raises(ValueError, match="failed"):
        stream.fill(bytearray(5), 5)


@pytest.mark.parametrize("path", ["", "a", "a/b"])
def test_a_directory_is_opened(top, root, path):
    fd = open_directory(root, path)
    assert os.fstat(fd).st_ino == (top / path).stat().st_ino
    assert os.get_inheritable(fd) is False
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("gone", FileNotFoundError),
        ("a/gone/b", FileNotFoundError),
        ("a/file", NotADirectoryError),
        ("a/link", NotADirectoryError),
        ("up", NotADirectoryError),
        ("up/a", NotADirectoryError),
        ("x" * 256, OSError),
        ("/".join(["a"] * 5000), FileNotFoundError),
        *(
            (path, ValueError)
            for path in ("/", "/a", "a/", "a//b", ".", "a/.", "..", "a/../a", "a\0", "\ud800")
        ),
    ],
)
def test_a_directory_that_cannot_be_opened(top, root, path, error):
    (top / "up").symlink_to(".")
    before = open_files()
    with pytest.raises(error) as caught:
        open_directory(root, path)
    if error is not ValueError:
        assert caught.value.filename == path
    assert open_files() == before


def tree_row(**changes):
    """A row of NUMBERS of a regular file, but for the changes."""
    return b"".join(changes.get(name, 0).to_bytes(8, sys.byteorder, signed=True) for name in NUMBERS)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": -1},
        {"kind": SOCKET},
        {"mode": 0o10000},
        {"mode": -1},
        {"uid": -1},
        {"uid": 1 << 32},
        {"gid": -1},
        {"gid": 1 << 32},
        {"size": -1},
        {"size": (1 << 63) - 1},
    ],
)
def test_numbers_that_no_entry_has(root, changes):
    with pytest.raises(ValueError, match=r"impossible|too large"):
        tar_stream(root, ["a"], tree_row(**changes), {}, bytes(8), bytes(8), {}, lambda _: bytes(512))


def test_sizes_whose_sum_no_file_can_have(root):
    row = tree_row(size=1 << 61)
    for count in (1, 2, 3):
        stream = tar_stream(root, ["a"], row, {}, bytes(8 * count), bytes(8), {}, lambda _: bytes(512))
        assert stream.size == count * (512 + (1 << 61)) + 1024
    with pytest.raises(ValueError, match="too large"):
        tar_stream(root, ["a"], row, {}, bytes(8 * 4), bytes(8), {}, lambda _: bytes(512))


def test_ustar_refuses_numbers_with_more_digits():
    good = [0o7777777, 0o7777777, 0o7777777, 0o77777777777, 0o77777777777, 0o7777777, 0o7777777]

    def block(numbers):
        return ustar(b"n", b"0", *numbers[:5], b"", *numbers[5:], b"")

    assert block(good)[100:108] == b"7777777\0"
    for at in range(len(good)):
        with pytest.raises(ValueError, match="ustar"):
            block([number + (place == at) for place, number in enumerate(good)])


def fails(function, *arguments):
    """Call a function that raises."""
    with contextlib.suppress(OSError, LookupError, TypeError, ValueError, RuntimeError):
        function(*arguments)
        pytest.fail("nothing was raised")


def test_no_object_is_left_behind(top, root):
    """Neither by what works nor by what fails. (What C allocates is counted by LeakSanitizer.)"""
    os.setxattr(top / "a/file", "user.a", b"value")
    os.mkfifo(top / "a/fifo")
    size, mtime = 7000, int((top / "a/file").stat().st_mtime)
    rows = members(root, "", "a")
    good = (["ä"], tree_row(), {0: ("t", (1, 2), ())}, bytes(8), bytes(8), {}, lambda _: bytes(512))
    wrong = [
        (*good[:at], value, *good[at + 1 :])
        for at, value in [
            (0, []),
            (1, tree_row(size=-1)),
            (2, {0: (1, None, ())}),
            (2, {0: (None, (1,), ())}),
            (3, (7).to_bytes(8, sys.byteorder)),
            (5, {0: 7}),
            (6, broken),
            (6, lambda _: "text"),
        ]
    ]

    def everything():
        os.close(open_directory(root, "a/b"))
        fails(open_directory, root, "a/gone")
        fails(open_directory, root, "..")
        read_directories(root, ["", "a"], (b"user.b",), (b"a/b",), 1)
        read_directories(root, ["a"], (b"user.b",), (), 100)
        fails(read_directories, root, ["a", "gone"], (), (), 100)
        fails(read_directories, root, ["a", 1], (), (), 100)
        fails(read_directories, root, ["a"], ("text",), (), 100)
        read_files(root, [("a/file", size, mtime)])
        fails(read_files, root, [("a/file", size, mtime), ("a/b", size, mtime)])
        fails(read_files, root, [("a/file", size, mtime), ("a", 1)])
        read_all(root, rows)
        tar_stream(root, *good)
        tar_stream(root, *good[:5], {0: "link"}, good[6])
        for arguments in wrong:
            fails(tar_stream, root, *arguments)

    for _ in range(5):
        everything()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(300):
        everything()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
