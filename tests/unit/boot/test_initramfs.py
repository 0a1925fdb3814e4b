"""The members of an initramfs: all forms of the buffer; damage, and data that unpacks to very much."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
import zlib

import pytest
import zstandard

from rechunk_podman.boot import initramfs
from rechunk_podman.boot.initramfs import differing_members, read_initramfs
from rechunk_podman.boot.streams import FormatError, lz4_block
from support.booting import DIRECTORY, cpio, cpio_member

FILES = {"init": b"#!/bin/sh\n", "etc/os-release": b"ID=x\n", "bin/tool": b"\x7fELF\0" * 5000}
EARLY = cpio({"kernel/x86/microcode/GenuineIntel.bin": b"\0\1\2"})


def lz4(data: bytes) -> bytes:
    """A legacy frame whose one block holds literals alone."""
    more, rest = divmod(len(data) - 15, 255)
    block = b"\xf0" + b"\xff" * more + bytes([rest]) + data
    return b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block


FORMS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lz4,
}


def read(data: bytes):
    return read_initramfs(io.BytesIO(data).read)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_behind_early_microcode(form):
    found = read(EARLY + bytes(508) + FORMS[form](cpio(FILES)) + bytes(12))
    assert found.fault is None
    assert list(found.members) == ["kernel/x86/microcode/GenuineIntel.bin", *FILES]
    assert found.members["bin/tool"].size == 25000
    assert found.texts == {name: FILES[name] for name in ("init", "etc/os-release")}


@pytest.mark.parametrize("form", FORMS)
def test_streams_one_after_another_where_the_last_name_wins(form):
    pad = FORMS[form]
    found = read(
        pad(cpio(FILES)) + bytes(4) + pad(cpio({"init": b"another"})) + gzip.compress(cpio({"x": b""}))
    )
    assert found.fault is None
    assert list(found.members) == [*FILES, "x"]
    assert found.texts["init"] == b"another"


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_is_a_fault_and_no_error(form):
    whole = FORMS[form](cpio(FILES))
    for length in range(1, len(whole), max(1, len(whole) // 29)):
        found = read(whole[:length])
        assert found.fault is not None or form == "plain" or length < 4
        assert set(found.members) <= set(FILES)


def test_damage_is_a_fault():
    assert read(b"i" * 100_000).fault == "neither an archive nor a known compression at byte 0"
    assert "no header" in (read(cpio(FILES)[:6] + b"?" * 200).fault or "")
    assert "broken" in (read(b"\x1f\x8b" + b"\xff" * 5000).fault or "")
    assert read(b"").fault is None


def test_what_unpacks_to_very_much_is_left_unread(monkeypatch):
    monkeypatch.setattr(initramfs, "MAX_BYTES", 64 << 20)
    deflate = zlib.compressobj(9, wbits=31)
    head = cpio_member("big", b"")
    gzipped = deflate.compress(head[:54] + b"7FFFFFFF" + head[62:]) + b"".join(
        deflate.compress(bytes(1 << 20)) for _ in range(80)
    )
    squeezed = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    for bomb in (gzipped + deflate.flush(), squeezed):
        tracemalloc.start()
        found = read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.fault == f"it holds more than {64 << 20} bytes"
        assert peak < 80 << 20
    monkeypatch.setattr(initramfs, "MAX_MEMBERS", 100)
    assert "more than 100 members" in (read(cpio({str(n): b"" for n in range(200)})).fault or "")


def test_lz4_sequences():
    assert lz4_block(b"\x35abc\x03\x00\x10d") == b"abcabcabcabcd"
    for broken in (
        b"\x35abc\x04\x00",
        b"\x35abc\x00\x00",
        b"\xf0",
        b"\x35ab",
        b"\x1fa\x01\x00" + b"\xff" * 40000,
    ):
        with pytest.raises(FormatError):
            lz4_block(broken)


def test_members_that_differ():
    one = read(cpio({"same": b"1", "content": b"1", "gone": b""}) + cpio_member("dir", mode=DIRECTORY))
    two = read(
        cpio({"same": b"1", "content": b"2", "new": b""}) + cpio_member("dir", mode=DIRECTORY, mtime=9, ino=5)
    )
    assert differing_members(one, two) == {
        "content": "content",
        "dir": "mtime, inode",
        "gone": "removed",
        "new": "added",
    }
