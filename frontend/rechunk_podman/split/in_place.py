"""The engine native, without a chunker image: mount or unpack the image, chunk it, import the result.

The chunker is a child process, so that its memory is free when the import begins.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from rechunk_podman.build.job import JOB, Job, Result
from rechunk_podman.programs import skopeo
from rechunk_podman.programs.leftovers import split_recorded
from rechunk_podman.programs.process import CommandError, find, local_environment
from rechunk_podman.programs.work import tool_environment, work_directory
from rechunk_podman.split.chunker import run_chunker
from rechunk_podman.split.inputs import with_files, with_previous_layers
from rechunk_podman.split.phases import Meter
from rechunk_podman.split.request import Progress, Task

log = logging.getLogger(__name__)

LAYOUT = "image"


def split_into_storage(task: Task, progress: Progress) -> Result:
    """Split the image into `task.tag` in the same storage.

    This process must be root, at least of a user namespace.

    Raises:
        ToolError: podman or skopeo is missing or failed; or there is no space.
        RechunkError: the error of the chunker.
    """
    find("skopeo")
    env = tool_environment(local_environment(), task.workdir)
    with work_directory(task.workdir) as work:
        meter = Meter(progress)
        with with_files(
            task, replace(with_previous_layers(task), output=f"oci:{LAYOUT}"), work, meter
        ) as job:
            result = chunk(job, work, env, meter)
            try:
                _import(task, work, env, meter)
            except CommandError as error:
                if not (job.held and skopeo.LOST_BLOB.search("\n".join(error.context))):
                    raise
            else:
                return result
            log.warning("layers that were in storage are gone: writing all of them")
            shutil.rmtree(os.path.join(work, LAYOUT))
            result = chunk(replace(job, held=()), work, env, meter)
        _import(task, work, env, meter)
    return result


def split_into_file(task: Task, output: str | None, progress: Progress) -> Result:
    """Split the image into a layout or archive; if the job has `plan_only`, only plan it.

    Args:
        output: a value of `build --output` with an absolute path.

    Raises:
        RechunkError: as split_into_storage().
    """
    env = tool_environment(local_environment(), task.workdir)
    with work_directory(task.workdir) as work:
        meter = Meter(progress)
        with with_files(task, replace(with_previous_layers(task), output=output), work, meter) as job:
            return chunk(job, work, env, meter)


def chunk(
    job: Job,
    work: str,
    env: Mapping[str, str],
    meter: Meter,
    on_blob: Callable[[str], None] | None = None,
) -> Result:
    """Execute a job by a child process in the directory `work`; return its result.

    Args:
        on_blob: see run_chunker().

    Raises:
        RechunkError: as run_chunker().
    """
    command = [sys.executable, "-m", "rechunk_podman", "build", "--job", JOB]
    return run_chunker(job, command, work, env=env, tick=meter.tick, on_phase=meter.begin, on_blob=on_blob)


def _import(task: Task, work: str, env: dict[str, str], meter: Meter) -> None:
    meter.begin_import(os.path.join(work, LAYOUT))
    with split_recorded(work, task.untagged, env):
        skopeo.import_layout(LAYOUT, task.tag, cwd=work, env=env, tick=meter.tick)
