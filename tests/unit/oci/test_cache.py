"""Caches by diff_id: they are bounded, and hold only what was written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.read.cache import Cache, open_cache
from rechunk_podman.oci.spec import DiffId


def diff_id(number: int) -> DiffId:
    return DiffId(f"sha256:{number:064x}")


def _hundred_bytes(path: Path) -> None:
    path.write_bytes(bytes(100))


def add(cache: Cache, number: int) -> None:
    cache.add(diff_id(number), _hundred_bytes)
    os.utime(cache.path(diff_id(number)), (number, number))


def test_the_least_recently_used_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with open_cache("layers", 250) as cache:
        for number in range(1, 5):
            add(cache, number)
        assert cache.has(diff_id(2)), "and counts as used now"
    assert [cache.has(diff_id(number)) for number in range(1, 5)] == [False, True, False, True]
    assert cache.folder == tmp_path / "rechunk-podman" / "layers"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space")

    with pytest.raises(RechunkError, match="cannot write"):
        cache.add(diff_id(1), fail)
    assert not cache.has(diff_id(1))
    assert not list(tmp_path.iterdir())
