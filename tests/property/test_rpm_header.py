"""Whatever the bytes are, the parsers of rpm's databases raise nothing but their own error."""

from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.rpm import bdb as rpm_bdb
from rechunk_podman.packages.rpm import header as rpm_header
from rechunk_podman.packages.rpm import ndb as rpm_ndb
from rechunk_podman.packages.rpm.header import Header, HeaderError
from support import rpm_headers
from support.rpm_headers import SOUND, header

TAGS = [number for name, number in vars(rpm_header).items() if name.isupper() and isinstance(number, int)]
NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


def read_all(blob):
    """Asks for everything that the reader ever asks for."""
    parsed = Header(blob)
    for tag in TAGS:
        for ask in (parsed.numbers, parsed.number, parsed.strings, parsed.string):
            with contextlib.suppress(HeaderError):
                ask(tag)
    for ask in (parsed.source, parsed.columns):
        with contextlib.suppress(HeaderError):
            ask()


@given(st.binary(max_size=400))
@example(b"")
@example(b"\0\0\0\1\0\0\0\0")
def test_any_bytes(blob):
    with contextlib.suppress(HeaderError):
        read_all(blob)


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_header_with_changed_bytes(changes):
    blob = bytearray(SOUND)
    for position, value in changes:
        blob[position] = value
    with contextlib.suppress(HeaderError):
        read_all(bytes(blob))


@given(st.integers(0, len(SOUND) - 1))
def test_a_header_cut_short_is_an_error(length):
    try:
        Header(SOUND[:length])
    except HeaderError:
        return
    raise AssertionError("a truncated header was taken for a whole one")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(TAGS),
            st.one_of(
                NAMES,
                st.lists(NAMES, min_size=1, max_size=5),
                st.lists(st.integers(0, 255), min_size=1, max_size=5),
            ),
        ),
        max_size=12,
    )
)
def test_tags_of_any_type_and_number(values):
    with contextlib.suppress(HeaderError):
        read_all(header(dict(values)))


@given(st.lists(st.tuples(NAMES, st.integers(0, 2**31), st.integers(0, 2**32 - 1)), min_size=1, max_size=20))
def test_what_is_written_is_read(files):
    folders = sorted({f"/{name}/" for name, _, _ in files})
    blob = header(
        {
            rpm_header.DIRNAMES: folders,
            rpm_header.DIRINDEXES: [folders.index(f"/{name}/") for name, _, _ in files],
            rpm_header.BASENAMES: [name for name, _, _ in files],
            rpm_header.LONGFILESIZES: [size << 10 for _, size, _ in files],
            rpm_header.FILEMTIMES: [mtime for _, _, mtime in files],
        }
    )
    assert [(file.path, file.size, file.mtime) for file in rpm_headers.files(Header(blob))] == [
        (f"/{name}/{name}", size << 10, mtime) for name, size, mtime in files
    ]


@given(st.binary(max_size=300), st.integers(1, 3), st.binary(max_size=200))
def test_ndb_of_any_bytes(slots, pages, rest):
    head = b"RpmP" + bytes(8) + pages.to_bytes(4, "little") + bytes(16)
    data = (head + slots).ljust(4096, b"\0") + rest
    with contextlib.suppress(DatabaseError):
        list(rpm_ndb.parse(data))


@given(st.binary(max_size=600), st.sampled_from([2, 7, 13]), st.sampled_from("<>"))
def test_bdb_of_any_bytes(content, kind, order):
    name = "little" if order == "<" else "big"
    meta = bytearray(512)
    meta[12:16] = (0x061561).to_bytes(4, name)
    meta[20:24] = (512).to_bytes(4, name)
    meta[25] = 8
    page = bytearray(content.ljust(1024, b"\0")[:1024])
    page[25] = kind
    page[512 + 25] = 7
    with contextlib.suppress(DatabaseError):
        list(rpm_bdb.parse(bytes(meta) + bytes(page)))
