"""The engine of the Containerfile: renders it, and buildah runs the chunker image on the image's stage."""

from __future__ import annotations

import logging
import os
import re

from rechunk_podman.errors import ToolError, UsageError
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.programs import buildah
from rechunk_podman.programs.buildah import Version
from rechunk_podman.programs.process import CommandError, local_environment, run, shorten
from rechunk_podman.split import containerfile
from rechunk_podman.split.in_place import relay
from rechunk_podman.split.request import (
    Progress,
    Request,
    chunker_error,
    size_below,
    tool_environment,
    work_directory,
    write,
)

log = logging.getLogger(__name__)

CONTAINERFILE = "Containerfile.splitter"
PREVIOUS = "rechunk-previous.json"
MARK = "/run/rechunk-podman-context"

FIRST_USABLE: Version = (1, 27)
"""The first with --skip-unused-stages."""

SHARES_CONTEXT: Version = (1, 44)
"""The first in which what a RUN writes to the context is there for the next stage, and FROM knows --after."""

_NO_CONTAINERS = re.compile(r"while running runtime: |error running container: from \S+ creating container")
"""The runtime failed to start: exit codes of what it runs are told otherwise."""

_CHATTER = re.compile(
    r"\[\d+/\d+\] |STEP |-->|Getting image source|Copying |Writing manifest|Storing sign|Successfully |time="
    r"|[0-9a-f]{64}$"
)


class NoContainersError(CommandError):
    """buildah cannot run any container here, whatever is in it."""


def has_triggers(config: bytes) -> bool:
    """Whether an image config (of any form that ImageConfig.parse() takes) has ONBUILD instructions.

    buildah runs them where it begins with such an image, and takes them away: its last stage is a FROM.
    """
    return bool(ImageConfig.parse(config).config.get("OnBuild"))


def split(request: Request, progress: Progress, *, chunker: str, pull: bool = False) -> None:
    """Splits the image into `request.tag` in the same storage.

    Args:
        chunker: the chunker image.
        pull: whether buildah may fetch it.

    Raises:
        ToolError: buildah is missing, too old or failed; no space.
        UsageError: the config has ONBUILD instructions.
        RechunkError: what the chunker reported.
    """
    if has_triggers(request.config):
        raise UsageError(
            "the image has ONBUILD instructions, which buildah would run and take away",
            hint="--engine native keeps them",
        )
    env = tool_environment(local_environment(), request.workdir)
    found = buildah.version(env)
    if found < FIRST_USABLE:
        raise ToolError(
            f"buildah {'.'.join(map(str, found))} is too old",
            hint="buildah 1.27 or newer, or --engine native",
        )
    with work_directory(request.workdir) as context:
        text = containerfile.render(after=found >= SHARES_CONTEXT, image=request.image.id)
        write(os.path.join(context, CONTAINERFILE), text.encode())
        write(os.path.join(context, containerfile.CONFIG_FILE), request.config)
        flags = request.flags
        if request.previous is not None:
            write(os.path.join(context, PREVIOUS), request.previous)
            flags = (*flags, f"--previous=/run/src/{PREVIOUS}")
        arguments = containerfile.arguments_text(flags)
        write(os.path.join(context, containerfile.ARGS_FILE), arguments.encode("utf-8", "surrogateescape"))
        command = build_command(request, context, chunker=chunker, pull=pull, found=found)
        with buildah.removing_containers(context, env):
            _build(command, request, context, env, progress)


def build_command(request: Request, context: str, *, chunker: str, pull: bool, found: Version) -> list[str]:
    """The command line that builds, for the version found; to be run in the context directory."""
    # Only versions that share the context write through the RUN's own mount; in the others a plain volume at
    # the same place wins over it. Either way the volume marks the build's containers as ours.
    place = MARK + ":ro" if found >= SHARES_CONTEXT else "/run/src"
    return [
        "buildah",
        "build",
        "--layers=false",
        "--skip-unused-stages=false",
        "--jobs=1",
        "--pull=false" if pull else "--pull=never",
        f"--build-arg=CHUNKER={chunker}",
        f"--volume={context}:{place}",
        "--security-opt=label=disable",
        f"--tag={request.tag}",
        f"--file={CONTAINERFILE}",
        ".",
    ]


def _build(
    command: list[str], request: Request, context: str, env: dict[str, str], progress: Progress
) -> None:
    lines: list[str] = []
    stage = ["starting buildah"]

    def hear(line: str) -> None:
        if "RUN --mount" in line:
            stage[0] = "writing layers"
        elif "FROM oci-archive" in line or "FROM --after" in line:
            stage[0] = "importing into storage"
        if _CHATTER.match(line) or line.startswith(("Error: ", "subprocess exited")):
            log.debug("%s", line)
        else:
            relay(line, lines)

    def tick() -> None:
        writing = stage[0] == "writing layers"
        progress(stage[0], size_below(context) if writing else 0, request.image.size if writing else 0)

    hint = "buildah logs more with -vv; --engine native does without the chunker image"
    try:
        run(command, env=env, cwd=context, on_line=hear, tick=tick, hint=hint, merged=True)
    except CommandError as error:
        reported = chunker_error(lines, error.status)
        if reported is not None:
            raise reported from error
        said = [shorten(line) for line in error.context if not _CHATTER.match(line)]
        if any(map(_NO_CONTAINERS.search, error.context)):
            raise NoContainersError(
                "buildah cannot run containers here",
                error.status,
                context=said,
                hint="--engine native needs none; BUILDAH_ISOLATION=chroot may do",
            ) from error
        raise CommandError(error.message, error.status, context=said, hint=error.hint) from error
