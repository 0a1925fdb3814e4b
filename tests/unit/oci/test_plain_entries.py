"""Tar headers that the extension reads: the members are those that Python alone reads."""

from __future__ import annotations

import io
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faults import odd_tars
from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind
from rechunk_podman.native import plain_entries
from rechunk_podman.oci.read import tar
from rechunk_podman.oci.read.header import Entries
from rechunk_podman.oci.read.tar import Member, members

KINDS = tuple(Kind)


class PythonAlone(Entries):
    def plain(self):
        self._finish()
        return iter(())


def read(data, entries, *, whole=True):
    """Return all that members() yields, and the error that ends it."""
    found = []
    tar.Entries, before = entries, tar.Entries
    try:
        for member, content in members(io.BytesIO(data), "layer", lambda path: found.append(path)):
            assert isinstance(member, Member)
            assert all(
                type(a) is type(b) for a, b in zip(member[2:8], (Kind.FILE, 0, 0, 0, 0, 0), strict=True)
            )
            start = content.read(3) if content is not None and not whole else None
            found.append((member, start, content and content.sha256()))
    except ImageError as error:
        found.append((error.message, error.context))
    finally:
        tar.Entries = before
    return found


def check(data, room=1 << 18):
    for whole in (True, False):
        expected = read(data, PythonAlone, whole=whole)
        assert read(data, partial(Entries, room=room), whole=whole) == expected
    return expected


OLD = (b"", b"0000644\0", b" 644 \0", b"\0\0644", b"7777777\0", b"77777777", b"644" + b" " * 5)
WRONG = (b"644\0x", b"64 4", b"8", b"-1", b"0o7", b"+7", b"\x80" + bytes(6) + b"\1", b"\xff" * 8)
NUMBERS = st.sampled_from((*OLD, *WRONG))
SIMPLE = (b"a", b"a/b", b"./a", b"/a", b"d/", "é/ü".encode(), b"n" * 100, b"a/.wh.b", b"...", b"a..")
ODD = (
    b"a//b",
    b"a/./b",
    b"../a",
    b"a/..",
    b"..",
    b".",
    b"./",
    b"",
    b"a/b//",
    b"\xff\xfe",
    b"x\0y",
    b"./.",
    b"/",
)
NAMES = st.sampled_from((*SIMPLE, *ODD))
PLAIN = {"mode", "uid", "gid", "size", "mtime", "major", "minor"}
FIELDS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(sorted(PLAIN), NUMBERS)
    | {
        "link": NAMES,
        "prefix": st.one_of(NAMES, NUMBERS, st.just(b"p" * 155)),
        "magic": st.sampled_from([b"ustar\x0000", b"ustar  \0", b"ustar\0\0\0", b"", b"ustar "]),
        "tail": st.sampled_from([b"", b"tar\0", b"tar"]),
        "checksum": st.sampled_from([b"0000000\0"]),
    },
)
ENTRIES = st.tuples(
    NAMES,
    st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"\0", b"g", b"x", b"L", b"K", b"S"]),
    st.binary(max_size=4) | st.sampled_from([b"a", bytes(511), bytes(512), bytes(1500)]),
    FIELDS,
)


def entry(name, kind, data, fields):
    return odd_tars.entry(name, b"" if kind in b"123456" else data, kind, **fields)


@settings(max_examples=400, deadline=None)
@given(st.lists(ENTRIES, max_size=6), st.sampled_from([512, 1024, 2048, 4096, 1 << 18]), st.integers(0, 2000))
def test_the_same_members_or_the_same_error(entries, room, cut):
    data = b"".join(entry(*one) for one in entries)
    check(data + odd_tars.END, room)
    check(data[: len(data) - cut], room)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 511), st.binary(min_size=1, max_size=12), st.sampled_from(["0", "5", "2", "3"]))
@example(156, b"1", "0")
def test_any_byte_of_a_header(at, value, kind):
    header = bytearray(odd_tars.header(b"usr/it", kind.encode(), link=b"a" if kind == "2" else b""))
    header[at : at + len(value)] = value[: 512 - at]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    check(bytes(header) + odd_tars.entry(b"after", b"data") + odd_tars.END)


@pytest.mark.parametrize("case", odd_tars.CASES)
def test_odd_tars(case):
    for layer in odd_tars.CASES[case]:
        check(layer)
        check(layer, room=512)


def test_content_at_the_end_of_the_buffer():
    files = [(b"%d" % size, bytes([size % 256]) * size) for size in (0, 1, 511, 512, 513, 3000, 70000)] * 3
    found = check(b"".join(odd_tars.entry(*one) for one in files) + odd_tars.END, room=4096)
    assert [member.size for member, *_ in found] == [len(data) for _, data in files]


def test_almost_all_is_plain():
    """What is common is read by the extension: of the kinds of entries, files that fit into the buffer."""
    kinds = b"".join(
        odd_tars.header(b"./usr/%c" % kind, b"%c" % kind, link=b"a" if kind in b"12" else b"")
        for kind in b"0123456"
    )
    gnu = odd_tars.header(b"gnu", magic=b"ustar  \0")
    data = kinds + gnu + odd_tars.entry(b"big", bytes(5000)) + odd_tars.header(b"after")
    buffer = bytearray(data)
    rows, offsets, end = plain_entries(buffer, 0, len(buffer), KINDS)
    assert [row[0] for row in rows] == [f"usr/{n}" for n in range(7)] + ["gnu", "big", "after"]
    assert [row[1] for row in rows[:2]] == ["./usr/0", "./usr/1"]
    assert offsets == [512 * n for n in range(1, 10)] + [len(data)]
    assert end == len(data)
    rows, _, end = plain_entries(buffer, 512, len(kinds) + 512 + 512 + 4999, KINDS)
    assert len(rows) == 7
    assert end == len(kinds) + 512


@pytest.mark.parametrize(("start", "end"), [(-1, 0), (1, 0), (0, 513)])
def test_offsets_outside_of_the_buffer(start, end):
    with pytest.raises(ValueError, match="outside"):
        plain_entries(bytearray(512), start, end, KINDS)


def test_kinds_that_are_missing():
    with pytest.raises(IndexError):
        plain_entries(bytearray(odd_tars.header(b"d", b"5")), 0, 512, ())
