"""Room in files before they are written."""

import os

from rechunk_podman.oci.write.reserve import reserve


def test_what_is_reserved_reads_as_zeros(tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"head")
        file.flush()
        reserve(file.fileno(), 4, 10_000)
        file.seek(0)
        assert file.read() == b"head" + bytes(10_000)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 10_000


def test_a_pipe_is_left_alone():
    source, sink = os.pipe()
    try:
        reserve(sink, 0, 100)
    finally:
        os.close(source)
        os.close(sink)


def test_nothing_is_nothing(tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        reserve(file.fileno(), 0, 0)
        assert os.fstat(file.fileno()).st_size == 0
