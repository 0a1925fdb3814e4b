"""Working directories, and the environment of tools that work there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.process import local_environment
from rechunk_podman.programs.work import size_below, work_directory


def test_work_directory_is_private_and_goes(tmp_path: Path) -> None:
    with work_directory(str(tmp_path)) as work:
        assert stat.S_IMODE(Path(work).stat().st_mode) == 0o700
        (Path(work) / "sub").mkdir()
        (Path(work) / "sub/file").write_bytes(b"12345")
        assert size_below(work) == 5
    assert list(tmp_path.iterdir()) == []


def test_work_directory_goes_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_directory(str(tmp_path)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_work_directory_follows_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with work_directory(None) as work:
        assert Path(work).parent == tmp_path


def test_no_work_directory(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot write") as caught, work_directory(str(tmp_path / "no")):
        pass
    assert "--workdir" in str(caught.value.hint)


def test_tools_work_on_local_storage() -> None:
    env = local_environment({"CONTAINER_HOST": "ssh://x", "SOURCE_DATE_EPOCH": "1", "PATH": "/bin"})
    assert env == {"PATH": "/bin"}
