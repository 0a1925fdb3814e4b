"""Directories of the living stay, those of the dead go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman import temporary

MAKES = """
import os, signal, sys
from rechunk_podman.temporary import private_directory
with private_directory(sys.argv[1]) as held:
    open(held.path + "/file", "w").close()
    if sys.argv[2:]:
        os.set_inheritable(held.lock, True)
        os.spawnlp(os.P_NOWAIT, "tail", "tail", "-f", "/dev/null")
    print(held.path, flush=True)
    signal.pause()
"""


def started(folder: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKES, folder, *more],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def test_the_dead_and_the_living(tmp_path: Path) -> None:
    killed, gone = started(tmp_path)
    living, stays = started(tmp_path)
    (tmp_path / "rechunk-podman-abcdefgh").mkdir()  # of a version without locks
    try:
        end(killed)
        assert list(temporary.dead(str(tmp_path))) == [gone]
        assert sorted(os.listdir(tmp_path)) == sorted([Path(stays).name, "rechunk-podman-abcdefgh"])
    finally:
        end(living)


@pytest.mark.parametrize("moment", ["hold", "shutil.rmtree"])
def test_a_signal_waits_until_a_directory_is_made_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real = temporary.hold if moment == "hold" else shutil.rmtree

    def interrupted(*arguments: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*arguments, **named)

    monkeypatch.setattr(f"rechunk_podman.temporary.{moment}", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary.private_directory(str(tmp_path)):
        assert os.listdir(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_child_that_inherits_the_lock_holds_it(tmp_path: Path) -> None:
    parent, path = started(tmp_path, "child")
    end(parent)
    assert list(temporary.dead(str(tmp_path))) == []
    os.killpg(parent.pid, signal.SIGKILL)
    temporary.wait_for_holder(path)
    assert list(temporary.dead(str(tmp_path))) == [path]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["original", "upstream", "a1b2c3d4", "tmp-original"])
def test_directories_with_other_names_stay(tmp_path: Path, name: str) -> None:
    """A checkout beside ours may be called so."""
    (tmp_path / f"rechunk-podman.{name}").mkdir(mode=0o700)
    assert list(temporary.dead(str(tmp_path))) == []
    assert os.listdir(tmp_path) == [f"rechunk-podman.{name}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_what_others_own_stays(tmp_path: Path) -> None:
    path = tmp_path / f"{temporary.PREFIX}01234567"
    path.mkdir()
    os.chown(path, 12345, 12345)
    assert list(temporary.dead(str(tmp_path))) == []
    assert path.is_dir()


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / f"{temporary.PREFIX}01234567").symlink_to("dir")
    assert list(temporary.dead(str(tmp_path))) == []
    assert (tmp_path / "dir").is_dir()


def test_what_is_removed_is_not_held(tmp_path: Path) -> None:
    """Another run may remove a directory before its maker has the lock."""
    path = tmp_path / f"{temporary.PREFIX}01234567"
    assert temporary.hold(path) is None
