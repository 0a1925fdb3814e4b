"""What the engines share: working directories, and how the chunker's errors are read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from rechunk_podman.cli.console import report
from rechunk_podman.errors import ImageError, RechunkError, ToolError
from rechunk_podman.programs.podman import Image
from rechunk_podman.programs.process import local_environment
from rechunk_podman.split.request import chunker_error, size_below, work_directory


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


@pytest.mark.parametrize(
    "error",
    [
        RechunkError("what", context=["one", "two"], hint="do"),
        RechunkError("what"),
        RechunkError("what", hint="do"),
        RechunkError("what", context=["one"]),
    ],
)
def test_the_reported_error_is_read_back(error: RechunkError, capsys: pytest.CaptureFixture[str]) -> None:
    """The two ends of one format: what cli/console.py writes, amid a builder's own lines."""
    report(error)
    lines = ["STEP 4/4: RUN", *capsys.readouterr().err.splitlines(), "subprocess exited with status 1"]
    found = chunker_error(lines)
    assert found is not None
    assert (found.message, found.context, found.hint) == (error.message, error.context, error.hint)


def test_no_reported_error() -> None:
    assert chunker_error(["Error: building at STEP", "warning: x"]) is None


def image(config: object, manifest: object) -> Image:
    return Image("ab" * 32, (), json.dumps(config).encode(), json.dumps(manifest).encode(), 0)


def test_document_carries_the_annotations() -> None:
    config = {"architecture": "amd64", "config": {"Env": ["A=é"]}, "os": "linux"}
    document = json.loads(image(config, {"annotations": {"a b": "c"}}).document())
    assert document == {**config, "annotations": {"a b": "c"}}
    assert json.loads(image(config, {}).document()) == config


def test_document_refuses_what_is_no_config() -> None:
    with pytest.raises(ImageError):
        image([], {}).document()


def test_tools_work_on_local_storage() -> None:
    env = local_environment({"CONTAINER_HOST": "ssh://x", "SOURCE_DATE_EPOCH": "1", "PATH": "/bin"})
    assert env == {"PATH": "/bin"}
