"""The same root filesystem gives the same bytes: on another day, with other threads, in another place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from support import tools
from support.needs import require


def build(
    storage: tools.Storage, root: Path, archive: Path, *options: str, before: tuple[str, ...] = ()
) -> str:
    """The sha256 of the archive that `build` makes of `root`."""
    command = (*tools.RECHUNK, "build", "--rootfs", root, "--output", f"oci-archive:{archive}", *options)
    storage.run(*before, *command)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.unlink()
    return found


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_threads_and_days_do_not_show(
    storage: tools.Storage, debian_image: str, tmp_path: Path, compression: str
) -> None:
    require("faketime")
    # without NO_FAKE_STAT the files themselves would seem to be a day older
    tomorrow = ("env", "NO_FAKE_STAT=1", "faketime", "-f", "+1d")
    options = ("--compression", compression, "--compression-level", "1")
    if compression == "none":
        options = options[:2]
    with storage.mounted(debian_image) as root:
        archive = tmp_path / "archive"
        today = build(storage, root, archive, *options, "--threads", "1")
        assert build(storage, root, archive, *options, "--threads", "4", before=tomorrow) == today


def test_faketime_works_here(storage: tools.Storage) -> None:
    """The test above relies on faketime."""
    require("faketime")
    script = "import time; print(time.time())"
    now = float(storage.run("python3", "-c", script).out)
    then = float(storage.run("env", "NO_FAKE_STAT=1", "faketime", "-f", "+1d", "python3", "-c", script).out)
    assert 86_000 < then - now < 87_000


def test_another_place(
    storage: tools.Storage, oddities_image: str, debian_image: str, tmp_path: Path
) -> None:
    """A copy has other inodes, another order of names, other times of directories and another name."""
    for name in (oddities_image, debian_image):
        with storage.mounted(name) as root, storage.scratch() as folder:
            here = build(storage, root, folder / "archive")
            copy = folder / "copy"
            tools.run("cp", "--archive", root, copy)
            tools.run("find", copy, "-type", "d", "-exec", "touch", "-d", "2001-01-01", "{}", "+")
            assert build(storage, copy, folder / "archive") == here


def test_a_change_shows(storage: tools.Storage, oddities_image: str, tmp_path: Path) -> None:
    """A change of one byte of a file, of its mode or of its xattr makes another image."""
    with storage.mounted(oddities_image) as root:
        copy = tmp_path / "copy"
        tools.run("cp", "--archive", root, copy)
    seen = {build(storage, copy, tmp_path / "archive")}
    file = copy / "names/.hidden"
    for change in (
        lambda: file.write_bytes(b"i am .hidden"),
        lambda: file.chmod(0o600),
        lambda: tools.run("setfattr", "-n", "user.new", "-v", "1", file),
        lambda: file.rename(copy / "names/.hidden2"),
    ):
        change()
        seen.add(build(storage, copy, tmp_path / "archive"))
    assert len(seen) == 5
