"""The engine buildah: render a Containerfile; buildah runs the chunker image in it, on the image's stage."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace

from rechunk_podman.build.job import JOB, Job, Result
from rechunk_podman.errors import ToolError, UsageError
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.write.output import Format
from rechunk_podman.programs import buildah
from rechunk_podman.programs.buildah import Version
from rechunk_podman.programs.leftovers import split_recorded
from rechunk_podman.programs.process import CommandError, local_environment, shorten
from rechunk_podman.programs.work import tool_environment, work_directory, write
from rechunk_podman.split import containerfile
from rechunk_podman.split.chunker import run_chunker
from rechunk_podman.split.phases import Meter
from rechunk_podman.split.request import Progress, Task

log = logging.getLogger(__name__)

CONTAINERFILE = "Containerfile.splitter"
CONTEXT = "/run/src"
MARK = "/run/rechunk-podman-context"

FIRST_USABLE: Version = (1, 27)
"""The first version with --skip-unused-stages."""

SHARES_CONTEXT: Version = (1, 44)
"""The first version whose stages see the files that a RUN wrote to the context, and with FROM --after."""

_NO_CONTAINERS = re.compile(r"while running runtime: |error running container: from \S+ creating container")
"""A line of a runtime that failed to start. For the exit code of a command in it, the line is another."""

_CHATTER = re.compile(
    r"\[\d+/\d+\] |STEP |-->|Getting image source|Copying |Writing manifest|Storing sign|Successfully |time="
    r"|[0-9a-f]{64}$"
)


class NoContainersError(CommandError):
    """buildah can run no container on this machine."""


def has_triggers(config: str) -> bool:
    """Return True if an image config has ONBUILD instructions.

    The last stage of our Containerfile is a FROM: buildah would run these instructions and remove them.
    """
    return bool(ImageConfig.parse(config).config.get("OnBuild"))


def split_in_buildah(task: Task, progress: Progress, *, chunker: str, pull: bool = False) -> Result:
    """Split the image into `task.tag` in the same storage.

    Args:
        chunker: the chunker image.
        pull: let buildah fetch the chunker image.

    Raises:
        NoContainersError: buildah cannot run any container.
        ToolError: buildah is missing, too old or failed; or there is no space.
        UsageError: the config has ONBUILD instructions.
        RechunkError: the error of the chunker.
    """
    if task.job.config is not None and has_triggers(task.job.config):
        raise UsageError(
            "the image has ONBUILD instructions, which buildah would run and take away",
            hint="--engine native keeps them",
        )
    env = tool_environment(local_environment(), task.workdir)
    found = buildah.version(env)
    if found < FIRST_USABLE:
        raise ToolError(
            f"buildah {'.'.join(map(str, found))} is too old",
            hint="buildah 1.27 or newer, or --engine native",
        )
    with work_directory(task.workdir) as context:
        shared = found >= SHARES_CONTEXT
        text = containerfile.render(image=task.image.id, job=f"{_place(found)}/{JOB}", after=shared)
        write(os.path.join(context, CONTAINERFILE), text.encode())
        command = build_command(task.tag, context, chunker=chunker, pull=pull, found=found)
        # Some versions of buildah write a new manifest; the others keep that of the archive.
        command[2:2] = [f"--format={(task.job.options.format or Format.OCI).value}"]
        job = replace(
            task.job,
            rootfs="/rootfs",
            output=f"oci-archive:{CONTEXT}/{containerfile.ARCHIVE_FILE}",
        )
        before, bases = buildah.container_ids(env), (task.image.id, chunker)
        with split_recorded(context, task.untagged, env, containers=before, bases=bases):
            return _build(job, command, context, env, Meter(progress))


def build_command(tag: str, context: str, *, chunker: str, pull: bool, found: Version) -> list[str]:
    """Return the build command for the installed version of buildah; it must run in the context directory."""
    return [
        "buildah",
        "build",
        "--layers=false",
        "--skip-unused-stages=false",
        "--jobs=1",
        "--pull=false" if pull else "--pull=never",
        f"--build-arg=CHUNKER={chunker}",
        f"--volume={context}:{_place(found)}",
        "--security-opt=label=disable",
        f"--tag={tag}",
        f"--file={CONTAINERFILE}",
        ".",
    ]


def _place(found: Version) -> str:
    """Return the mount point of the volume by which the chunker sees the context directory.

    Versions that share the context write through the RUN's own mount at CONTEXT. In other versions the
    volume must hide that mount. In both cases the volume marks the containers of the build as ours.
    """
    return MARK if found >= SHARES_CONTEXT else CONTEXT


def _build(job: Job, command: list[str], context: str, env: dict[str, str], meter: Meter) -> Result:
    def hear(line: str) -> None:
        if "FROM oci-archive" in line or "FROM --after" in line:
            meter.begin_import(context)
        log.debug("%s", line)

    hint = "buildah logs more with -vv; --engine native does without the chunker image"
    try:
        return run_chunker(
            job,
            command,
            context,
            env=env,
            tick=meter.tick,
            on_phase=meter.begin,
            on_line=hear,
            hint=hint,
            merged=True,
        )
    except CommandError as error:
        said = [shorten(line) for line in error.context if not _CHATTER.match(line)]
        if any(map(_NO_CONTAINERS.search, error.context)):
            raise NoContainersError(
                "buildah cannot run containers here",
                error.status,
                context=said,
                hint="--engine native needs none; BUILDAH_ISOLATION=chroot may do",
            ) from error
        raise CommandError(error.message, error.status, context=said, hint=error.hint) from error
