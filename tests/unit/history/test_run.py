"""Histories of layouts: names that are no text, and a cache that was damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.history.run import CACHE, measure
from rechunk_podman.planning.history import parse_history
from support.oci_material import Layout, make_tar, member


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of what was read of layers, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rechunk-podman" / CACHE


def layout(path: Path, number: int, *members: Any) -> str:
    made = Layout(path / str(number))
    made.config["created"] = f"2026-01-0{number + 1}T00:00:00Z"
    return f"oci:{made.layer(make_tar(members)).finish()}"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A large file of such a name is a component of its own, and the replay can read the history."""
    images = [
        layout(tmp_path, number, member("opt/\udcff/data", data=random.Random(number).randbytes(2 << 20)))
        for number in range(2)
    ]
    document = json.dumps(measure(images)).encode()
    history = parse_history(document)
    assert [str(c.id) for c in history.releases[0].components if c.size > 1 << 20] == [
        r"bigfiles/opt/\udcff/data"
    ]


@pytest.mark.parametrize("left", [0, 100, -40])
def test_a_damaged_cache_is_read_again(tmp_path: Path, cache: Path, left: int) -> None:
    """The machine lost its power, for instance."""
    images = [layout(tmp_path, number, member("srv/data", data=b"%d" % number)) for number in range(2)]
    first = measure(images)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[: left or None] if left else b"")
    assert measure(images) == first
