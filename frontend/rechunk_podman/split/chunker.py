"""Run the chunker as a process: it reads job.json in a private directory, and writes result.json there."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rechunk_podman.build.job import JOB, LOG, RESULT, Job, Result
from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.oci.text import load_json
from rechunk_podman.programs.process import SPACE_HINT, CommandError, run, speaks_of_space
from rechunk_podman.programs.work import write

UNKNOWN_OPTION = 2
"""The exit code of a chunker that does not know the option --job."""

_RECORD: Mapping[str, type] = {"level": int, "message": str, "phase": str, "total": int, "blob": str}
"""The fields of a record in the chunker's log."""

_package = logging.getLogger("rechunk_podman")


def run_chunker(
    job: Job,
    command: Sequence[str],
    work: str,
    *,
    env: Mapping[str, str],
    tick: Callable[[], None],
    on_phase: Callable[[str, int], None] | None = None,
    on_blob: Callable[[str], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: str | None = None,
    merged: bool = False,
) -> Result:
    """Write the job into the directory `work`, run the command that executes it, and return the result.

    Each log record of the chunker is logged again in this process at once.

    Args:
        command: it runs in `work`, and makes the chunker execute job.json there.
        on_phase: called with the name and the bytes (0 if unknown) of each phase that the chunker begins.
        on_blob: called with the path of each layer's blob that is complete; see log.complete_blob().
        on_line, hint, merged: see process.run().

    Raises:
        UsageError: a map or a groups file cannot be read.
        RechunkError: the error of the chunker.
        CommandError: the command failed, and the chunker reported no error.
        ToolError: the chunker left no result.
    """
    options = replace(
        job.options,
        map=_copied(job.options.map, work, "map"),
        groups=_copied(job.options.groups, work, "groups"),
    )
    job = replace(job, options=options, follow=True, log_level=_package.getEffectiveLevel())
    write(os.path.join(work, JOB), job.to_json())
    write(os.path.join(work, LOG), b"")
    Path(work, RESULT).unlink(missing_ok=True)
    failed: CommandError | None = None
    with open(os.path.join(work, LOG), "rb") as records:
        begun = b""

        def relay() -> None:
            nonlocal begun
            *lines, begun = (begun + records.read()).split(b"\n")
            for line in lines:
                record = parse_record(line)
                if on_phase is not None and "phase" in record:
                    on_phase(record["phase"], record["total"])
                if on_blob is not None and "blob" in record:
                    on_blob(record["blob"])
                _package.log(record["level"], "%s", record["message"])

        def ticking() -> None:
            relay()
            tick()

        try:
            run(command, env=env, cwd=work, on_line=on_line, tick=ticking, hint=hint, merged=merged)
        except CommandError as error:
            failed = error
        finally:
            relay()
    result = _result(work)
    if result is not None and result.error is not None:
        reported = result.error
        full = any(map(speaks_of_space, (reported.message, *reported.context)))
        raise RechunkError(
            reported.message,
            context=reported.context,
            hint=SPACE_HINT if full else reported.hint,
            exit_code=reported.exit_code,
        ) from failed
    if result is None:
        raise _explained(failed, has_begun=Path(work, LOG).stat().st_size > 0)
    if failed is not None:
        raise failed
    return result


def parse_record(line: bytes) -> dict[str, Any]:
    """Return a record of the chunker's log (build/job.py, log.py). Pure.

    Raises:
        ToolError: the line is none.
    """
    record = load_json(line, LOG, ToolError)
    found = record if isinstance(record, dict) else {}
    needed = {"level", "message", *(("phase", "total") if "phase" in found else ())}
    if not needed <= found.keys() or not all(type(found[key]) is _RECORD.get(key) for key in found):
        raise ToolError(f"{LOG} of the chunker has a line that is no record", context=[repr(line[:200])])
    return found


def _copied(files: Sequence[str], work: str, kind: str) -> tuple[str, ...]:
    """Copy the files into the directory `work`, which the chunker sees; return their names there.

    Names that are not absolute paths are those of ready groups.

    Raises:
        UsageError: a file cannot be read.
    """
    names = []
    for number, file in enumerate(files):
        name = file
        if Path(file).is_absolute():
            name = f"{kind}-{number}-{os.path.basename(file)}"
            try:
                with open(file, "rb") as source, open(os.path.join(work, name), "wb") as copy:
                    shutil.copyfileobj(source, copy)
            except OSError as error:
                raise UsageError(f"cannot read {file}", context=[str(error)]) from error
        names.append(name)
    return tuple(names)


def _result(work: str) -> Result | None:
    try:
        return Result.from_json(Path(work, RESULT).read_bytes())
    except FileNotFoundError:
        return None


def _explained(failed: CommandError | None, *, has_begun: bool) -> ToolError:
    """Return the error of a command whose chunker left no result.

    Args:
        has_begun: the chunker had begun its job.
    """
    if failed is None:
        return ToolError("the chunker left no result", hint="-vv shows what it says")
    message, hint = failed.message, failed.hint
    killed = failed.status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    if killed or has_begun:
        message = "the chunker was killed" if killed else "the chunker ended without a result"
        hint = "the system may be short of memory (dmesg says so): fewer --threads need less"
    elif failed.status == UNKNOWN_OPTION and any("--job" in line for line in failed.context):
        message = "the chunker image knows no jobs: it is of an older version of rechunk-podman"
        hint = "build it anew (README.md), name another by --chunker, or --engine native"
    return CommandError(message, failed.status, context=failed.context, hint=hint)
