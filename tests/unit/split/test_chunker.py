"""The chunker as a process: results, errors, log records, and processes that leave no result."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rechunk_podman.build.job import Job, Result
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.errors import RechunkError, ToolError
from rechunk_podman.log import NOTE
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.programs.process import SPACE_HINT, local_environment
from rechunk_podman.programs.work import work_directory
from rechunk_podman.split.chunker import run_chunker

CHUNKER = (sys.executable, "-m", "rechunk_podman", "build", "--job", "job.json")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on a root filesystem of one file, which is older than its byte code."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/motd").write_text("hello")
    (tmp_path / "root/sysroot/ostree/repo").mkdir(parents=True)
    return Job(str(tmp_path / "root"), output="oci:image")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """The private directory."""
    with work_directory(str(tmp_path)) as folder:
        yield Path(folder)


def chunk(job: Job, work: Path, *command: str) -> Result:
    return run_chunker(job, command or CHUNKER, str(work), env=local_environment(), tick=lambda: None)


def test_the_result_and_the_records_arrive(
    job: Job, work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever RECHUNK_* and CHUNKAH_* variables say; warnings are warnings here, too."""
    for name in ("RECHUNK_ROOTFS", "RECHUNK_PREVIOUS", "RECHUNK_CONFIG_STR", "RECHUNK_CREDS"):
        monkeypatch.setenv(name, "nonsense:nonsense")
    caplog.set_level(logging.INFO, "rechunk_podman")
    result = chunk(job, work)
    validate(work / "image").check()
    assert result.error is None
    assert result.manifest is not None
    levels = {(record.levelno, record.message.partition(" ")[0]) for record in caplog.records}
    assert (logging.INFO, "scan:") in levels
    assert (logging.WARNING, "/sysroot") in levels
    assert NOTE not in {record.levelno for record in caplog.records}


def test_an_error_arrives_with_context_hint_and_exit_code(job: Job, work: Path) -> None:
    bad = Job(job.rootfs, BuildOptions(labels=("nothing",)), output=job.output)
    with pytest.raises(RechunkError) as caught:
        chunk(bad, work)
    assert "nothing" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert not (work / "image").exists()


def test_a_full_disk_is_told_by_what_helps(job: Job, work: Path) -> None:
    (work / "answer").write_text(
        '{"format": 1, "error": {"message": "cannot write image: No space left on device"}}'
    )
    with pytest.raises(RechunkError) as caught:
        chunk(job, work, "sh", "-c", "cp answer result.json; exit 1")
    assert caught.value.hint == SPACE_HINT


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("kill -9 $$", "the chunker was killed", "memory"),
        ("exit 137", "the chunker was killed", "memory"),
        ("exit 0", "the chunker left no result", "-vv"),
        ('echo \'{"level": 10, "message": "x"}\' >> log.jsonl; exit 1', "ended without a result", "memory"),
        ("echo 'error: no such option: --job' >&2; exit 2", "knows no jobs: it is of an older", "--chunker"),
        ("echo 'write: No space left on device' >&2; exit 1", "no space left", "--workdir"),
        ("echo something >&2; exit 3", "failed with status 3", ""),
    ],
)
def test_no_result(job: Job, work: Path, script: str, message: str, hint: str) -> None:
    """The result of an earlier run is not taken for the result of this one."""
    (work / "result.json").write_text('{"format": 1, "manifest": "old"}')
    with pytest.raises(ToolError) as caught:
        chunk(job, work, "sh", "-c", script)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_result_of_another_version(job: Job, work: Path) -> None:
    with pytest.raises(RechunkError, match="format number 9"):
        chunk(job, work, "sh", "-c", "echo '{\"format\": 9}' > result.json")


def test_records_are_relayed_while_the_chunker_works(
    job: Job, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records are relayed as whole lines."""
    caplog.set_level(logging.DEBUG, "rechunk_podman")
    script = """
import time
with open("log.jsonl", "a", buffering=1) as log:
    log.write('{"level": 30, "message": "fir')
    while not open("seen").read():
        time.sleep(0.01)
    log.write('st"}\\n{"level": 20, "message": "second"}\\n')
open("result.json", "w").write('{"format": 1}')
"""
    (work / "seen").touch()
    ticks: list[list[str]] = []

    def tick() -> None:
        ticks.append([record.message for record in caplog.records if record.name == "rechunk_podman"])
        (work / "seen").write_text("x")

    run_chunker(job, (sys.executable, "-c", script), str(work), env=local_environment(), tick=tick)
    assert ticks[0] == []
    own = [(r.levelno, r.message) for r in caplog.records if r.name == "rechunk_podman"]
    assert own == [(logging.WARNING, "first"), (logging.INFO, "second")]


def test_the_job_may_be_done_twice(job: Job, work: Path) -> None:
    """split does the job again if layers that storage held are gone."""
    first = chunk(job, work)
    shutil.rmtree(work / "image")
    assert chunk(job, work) == first


CALLS = """
import os, signal, sys
from rechunk_podman.temporary import private_directory
with private_directory(sys.argv[1]) as held:
    print(held.path, flush=True)
    signal.pause()
"""


def test_a_chunker_that_is_no_child_ends_with_its_caller(job: Job, tmp_path: Path) -> None:
    """In a container the chunker is no child, and sees the lock. Here it waits for a reader of a FIFO."""
    caller = subprocess.Popen([sys.executable, "-c", CALLS, tmp_path], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    folder = caller.stdout.readline().strip()
    os.mkfifo(tmp_path / "fifo")
    Path(folder, "job.json").write_bytes(replace(job, output=str(tmp_path / "fifo"), follow=True).to_json())
    chunker = subprocess.Popen([*CHUNKER[:-1], f"{folder}/job.json", "-v"], stderr=subprocess.PIPE, text=True)
    assert chunker.stderr is not None
    while not Path(folder, "log.jsonl").exists():
        assert chunker.poll() is None
    assert chunker.poll() is None
    caller.kill()
    assert "interrupted" in chunker.stderr.read()
    assert chunker.wait(30) == 130
    caller.wait()
    caller.stdout.close()
    chunker.stderr.close()
