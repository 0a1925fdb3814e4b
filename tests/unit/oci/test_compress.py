"""Compressors: the same bytes for any number of threads and any pieces."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
import zstandard
from zlib_ng import zlib_ng

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write import compress as module
from rechunk_podman.oci.write.compress import Compression


@pytest.fixture(scope="module")
def data():
    """40 MiB of which about a half can be compressed: five jobs of zstd."""
    source = random.Random(1)
    piece = [source.randbytes(1 << 16) + b"text " * 13107 for _ in range(4)]
    return b"".join(source.choice(piece) for _ in range(320))


def compress(compression, data, threads, chunk):
    compressor = compression.compressor(len(data), threads)
    view = memoryview(data)
    parts = [compressor.compress(view[start : start + chunk]) for start in range(0, len(data), chunk)]
    return b"".join([*parts, compressor.flush()])


@pytest.mark.parametrize("level", [1, 3, 9])
def test_zstd_does_not_depend_on_threads_or_chunks(data, level):
    compression = Compression.parse("zstd", level)
    expected = compress(compression, data, 1, 1 << 20)
    for threads, chunk in ((2, 1 << 20), (3, 100_003), (7, len(data))):
        assert compress(compression, data, threads, chunk) == expected
    frame = zstandard.get_frame_parameters(expected)
    assert frame.content_size == len(data)
    assert frame.has_checksum
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    assert decompressor.decompress(expected) == data
    assert decompressor.unused_data == b""


@pytest.fixture(params=["zlib", "zlib-ng"])
def library(request, monkeypatch):
    """Compress by each of the libraries for gzip."""
    if request.param == "zlib":
        monkeypatch.setattr(module, "zlib_ng", None)
    return request.param


def test_the_library_for_gzip_is_recorded(data, library):
    version = zlib_ng.ZLIBNG_RUNTIME_VERSION if library == "zlib-ng" else zlib.ZLIB_RUNTIME_VERSION
    assert Compression.parse("gzip").program == (library, version, 6)


@pytest.mark.usefixtures("library")
def test_gzip_has_a_fixed_header(data):
    packed = compress(Compression.parse("gzip", 1), data, 1, 1 << 20)
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(packed) == data
    assert compress(Compression.parse("gzip", 1), data, 4, 1 << 20) == packed


def test_nothing_at_all_can_be_compressed():
    assert gzip.decompress(compress(Compression.parse("gzip"), b"", 1, 1)) == b""
    assert zstandard.decompress(compress(Compression.parse("zstd"), b"", 2, 1)) == b""
    assert Compression().compressor(10) is None


def test_compressions():
    assert Compression.parse("none", None) == Compression()
    assert Compression.parse("gzip") == Compression("gzip", 6)
    assert Compression.parse("zstd") == Compression("zstd", 3)
    program = Compression.parse("zstd", 19).program
    assert program == ("zstd", ".".join(map(str, zstandard.ZSTD_VERSION)), 19)
    assert Compression.parse("none", 9).program is None
    for kind, level in (("gzip", -1), ("gzip", 10), ("zstd", 23), ("bzip2", None)):
        with pytest.raises(UsageError):
            Compression.parse(kind, level)
