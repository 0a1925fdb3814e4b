"""The progress of long work: named phases, bytes that move, lines where there is no terminal."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rechunk_podman.build.job import JOB, LOG, Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run_file
from rechunk_podman.cli.progress import moved_text, progress_bar
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.programs.process import run
from rechunk_podman.programs.traffic import bytes_read
from rechunk_podman.split.phases import Meter

MB = 1_000_000


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    (top / "etc/large").write_bytes(os.urandom(3 * MB))
    return top


@pytest.mark.parametrize(("kind", "last"), [("none", "writing layers"), ("zstd", "compressing")])
def test_the_chunker_says_which_phase_begins(top: Path, tmp_path: Path, kind: str, last: str) -> None:
    """The phases are in its log at every log level."""
    work = tmp_path / "work"
    work.mkdir()
    options = BuildOptions(compression=Compression.parse(kind))
    job = Job(str(top), options, output=f"oci:{tmp_path}/out", log_level=logging.ERROR)
    (work / JOB).write_bytes(job.to_json())
    logger = logging.getLogger("rechunk_podman")
    handlers, level = logger.handlers[:], logger.level
    try:
        run_file(work / JOB)
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    records = [json.loads(line) for line in (work / LOG).read_text().splitlines()]
    phases = [(record["phase"], record["total"]) for record in records if "phase" in record]
    assert [name for name, _ in phases] == ["scanning", "reading", "planning", last]
    assert phases[-1][1] >= 3 * MB
    others = [record for record in records if not {"phase", "blob"} & record.keys()]
    assert [record for record in others if record["level"] < logging.ERROR] in (
        [],
        [{"level": logging.DEBUG, "message": "the chunker has begun"}],
    )


def test_bytes_of_children_and_of_theirs_count(top: Path, tmp_path: Path) -> None:
    """They count after their end, too, so that the sum never falls."""
    before = bytes_read()
    seen: list[int] = []
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = f"cat {top}/etc/large >/dev/null"
    wait = f"read _ <{fifo}"

    def tick() -> None:
        seen.append(bytes_read() - before)
        if len(reached) < 2 and seen[-1] >= 3 * MB * (len(reached) + 1):
            reached.append(seen[-1])
            fifo.write_text("go on\n")

    reached: list[int] = []
    run(["sh", "-c", f"{read}; {wait}; ({read}; :); {wait}"], tick=tick)
    seen.append(bytes_read() - before)
    assert seen == sorted(seen)
    assert 3 * MB <= reached[0] < 6 * MB
    assert 6 * MB <= reached[1] <= seen[-1] < 8 * MB


def test_the_meter_reports_at_most_the_total(top: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    meter = Meter(lambda *report: shown.append(report))
    meter.begin("reading", 2 * MB)
    meter.tick()
    (top / "etc/large").read_bytes()
    meter.tick()
    meter.begin("importing", 9 * MB, reads=3)
    (top / "etc/large").read_bytes()
    meter.tick()
    assert [phase for phase, _, _ in shown] == ["mounting", *["reading"] * 3, *["importing"] * 2]
    assert shown[2][1] < MB
    assert shown[3] == ("reading", 2 * MB, 2 * MB)
    assert MB <= shown[5][1] < 2 * MB


def test_bytes_as_text() -> None:
    assert (moved_text(0, 0), moved_text(MB, 0), moved_text(MB, 2 * MB)) == ("", "1.0 MB", "1.0 MB of 2.0 MB")


def test_without_a_terminal_each_phase_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rechunk_podman"), progress_bar() as progress:
        progress("scanning", 0, 0)
        progress("compressing", 0, 2 * MB)
        progress("compressing", 2 * MB, 2 * MB)
    first, second = caplog.messages
    assert first.startswith("scanning: ")
    assert second.startswith("compressing: 2.0 MB of 2.0 MB, ")


def test_a_build_on_a_terminal(top: Path, tmp_path: Path) -> None:
    """Its phases pass by; nothing of them is left on a line of its own."""
    command = (
        f"{sys.executable} -m rechunk_podman build --rootfs {top} -o oci:{tmp_path}/out --compression gzip"
    )
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "compressing" in done.stdout
    assert "of 3.0 MB" in done.stdout
    assert "no image config is given" in done.stdout
