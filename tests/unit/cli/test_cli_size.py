"""Files that are too large: said after the scan, before any of them is read. Sparse files of terabytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rechunk_podman.build.options import parse_limit
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.validate.image import validate

HUGE = 4 << 40


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A root filesystem with a sparse file of 4 TiB, and a hard link to a small one."""
    top = tmp_path / "root"
    (top / "opt").mkdir(parents=True)
    with (top / "opt/sparse").open("wb") as file:
        file.truncate(HUGE)
    (top / "opt/small").write_bytes(b"x" * 1000)
    (top / "opt/link").hardlink_to(top / "opt/small")
    return top


def build(top: Path, *words: str, stdout: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run build; reading the file would take hours, so the time limit is part of the test."""
    command = [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", str(top), *words]
    if stdout is not None:
        with stdout.open("wb") as file:
            return subprocess.run(command, stdout=file, stderr=subprocess.PIPE, timeout=60, check=False)
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "words", [["-o", "oci:{}"], ["-o", "{}", "--compression", "zstd"], ["-o", "/dev/null"]]
)
def test_no_room_is_said_before_anything_is_read(top: Path, tmp_path: Path, words: list[str]) -> None:
    done = build(top, *(word.format(tmp_path / "out") for word in words))
    assert done.returncode == 1
    assert b"error: not enough space" in done.stderr
    assert b"for the files" in done.stderr
    assert os.listdir(tmp_path) == ["root"]


@pytest.mark.parametrize("piped", [False, True])
def test_no_room_behind_standard_output(top: Path, tmp_path: Path, piped: bool) -> None:
    done = build(top, stdout=None if piped else tmp_path / "out")
    assert done.returncode == 1
    assert b"error: not enough space" in done.stderr


@pytest.mark.parametrize("more", [[], ["--plan-only"]])
def test_a_limit_of_ones_own(top: Path, tmp_path: Path, more: list[str]) -> None:
    done = build(top, "-o", f"oci:{tmp_path}/out", "--max-size", "20GB", *more)
    assert done.returncode == 1
    assert b"more than --max-size allows: 20.0 GB" in done.stderr
    assert b"the largest: /opt/sparse, 4398.0 GB" in done.stderr
    assert os.listdir(tmp_path) == ["root"]


def test_hard_links_count_once(top: Path, tmp_path: Path) -> None:
    words = ("-o", f"oci:{tmp_path}/out", "--prune", "/opt/sparse", "--max-size")
    assert b"allows: 999 B" in build(top, *words, "999").stderr
    done = build(top, *words, "1kB")
    assert done.returncode == 0, done.stderr
    validate(tmp_path / "out").check()


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("1.5 TB", 15 * 10**11), ("20GB", 2 * 10**10), ("512MiB", 512 << 20), ("2k", 2000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_limit("--max-size", text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1iB", "1 PB", "1e9", "٣"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_limit("--max-size", text)
