"""Files appear whole or not at all; streams, symlinks, modes."""

from __future__ import annotations

import os
import stat

import pytest

from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.files import OutputFile, is_stream, require_distinct, require_writable, write_file


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_distinct_outputs(tmp_path):
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(UsageError, match="--a and --c name the same place"):
        require_distinct({"--a": tmp_path / "file", "--b": None, "--c": tmp_path / "link"})
    require_distinct({"--a": tmp_path / "file", "--b": tmp_path / "file2"})
    require_distinct({"--a": "/dev/null", "--b": "/dev/null"})


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path, durable):
    path = tmp_path / "file"
    path.write_bytes(b"the old one, longer")
    path.chmod(0o600)
    write_file(path, b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_script_is_executable(tmp_path):
    write_file(tmp_path / "script", b"#!/bin/sh\n", executable=True)
    assert stat.S_IMODE((tmp_path / "script").stat().st_mode) == 0o750


def test_a_symlink_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    write_file(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"data"


def test_a_stream_is_written_directly(tmp_path):
    reader, writer = os.pipe()
    with open(reader, "rb") as end:
        name = f"/proc/self/fd/{writer}"
        assert is_stream(name)
        write_file(name, b"data")
        os.close(writer)
        assert end.read() == b"data"
    with pytest.raises(RechunkError, match="No space left"):
        write_file("/dev/full", b"data")


def test_without_commit_the_old_file_stays(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with OutputFile(str(path)) as file:
        file.write(b"half of the new", 0)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_no_file_there(tmp_path):
    with pytest.raises(RechunkError, match="No such file") as caught:
        write_file(tmp_path / "no" / "file", b"")
    assert "exists" in str(caught.value.hint)
    with pytest.raises(UsageError, match="is a directory"):
        write_file(tmp_path, b"")


@pytest.mark.parametrize(("name", "reason"), [("", "directory"), ("no/file", "there is no directory")])
def test_a_name_is_refused_before_the_work(tmp_path, name, reason):
    require_writable(tmp_path / "file", "--state")
    require_writable("/dev/null", "--state")
    with pytest.raises(UsageError, match=f"--state .*{reason}"):
        require_writable(tmp_path / name, "--state")
