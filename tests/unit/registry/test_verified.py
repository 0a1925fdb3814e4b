"""The list of verified blobs is bounded; a damaged file is no error."""

from __future__ import annotations

import os

import pytest

from rechunk_podman.oci.spec import DiffId, Digest
from rechunk_podman.registry import verified


def claim(number):
    text = f"sha256:{number:064x}"
    return Digest(text), DiffId(text)


def test_what_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = verified.cache_file()
    assert verified.load(path) == {}
    verified.remember(path, [claim(1), claim(2)])
    verified.remember(path, [claim(3), claim(1)])
    assert list(verified.load(path)) == [claim(2), claim(3), claim(1)]
    assert list(path.parent.iterdir()) == [path]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(verified, "MAX_LINES", 3)
    path = tmp_path / "file"
    verified.remember(path, map(claim, range(5)))
    assert list(verified.load(path)) == [claim(2), claim(3), claim(4)]
    verified.remember(path, [claim(9)])
    assert list(verified.load(path)) == [claim(3), claim(4), claim(9)]


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 4096, b"nonsense\n", os.urandom(10000), b"sha256:1 sha256:2\n", b"{}", b"\xff\n" * 10**6],
)
def test_nonsense_is_nothing(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert verified.load(path) == {}
    with path.open("ab") as file:
        file.write(f"\n{claim(1)[0]} {claim(1)[1]}\n".encode())
    if path.stat().st_size < verified.MAX_BYTES:
        assert list(verified.load(path)) == [claim(1)]
    verified.remember(path, [claim(2)])
    assert claim(2) in verified.load(path)


def test_places_that_cannot_be_written_are_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    verified.remember(tmp_path / "file" / "below", [claim(1)])
    verified.remember(None, [claim(1)])
    verified.remember(tmp_path, [claim(1)])
    assert verified.load(tmp_path) == {}
    assert verified.load(None) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_somebody_else_is_ignored(tmp_path):
    path = tmp_path / "file"
    verified.remember(path, [claim(1)])
    os.chown(path, 12345, 12345)
    assert verified.load(path) == {}
