"""The engine that needs no chunker image: mounts the image read-only, chunks in place, imports the result.

The chunker runs as a child, by the same command line as in the chunker image: the two engines cannot drift
apart, and its memory is gone when storage needs some.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rechunk_podman.log import note
from rechunk_podman.programs import skopeo
from rechunk_podman.programs.podman import mounted
from rechunk_podman.programs.process import CommandError, find, local_environment, run
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

LAYOUT = "image"
CONFIG = "config.json"
MANIFEST = "manifest.json"
PREVIOUS = "previous.json"
HELD = "held.json"

LOST_BLOB = re.compile(r"open \S*/blobs/sha256/([0-9a-f]{64}): no such file or directory")
"""What skopeo says of a blob that neither the layout nor the destination has."""

_OWN = {
    *("RECHUNK_ROOTFS", "CHUNKAH_ROOTFS", "RECHUNK_CONFIG_STR", "CHUNKAH_CONFIG_STR"),
    *("RECHUNK_PREVIOUS", "RECHUNK_CREDS", "RECHUNK_TLS_VERIFY", "RECHUNK_CERT_DIR", "REGISTRY_AUTH_FILE"),
}
"""Options of `build` by environment, which are given to it explicitly or not at all."""


def split(request: Request, progress: Progress) -> None:
    """Splits the image into `request.tag` in the same storage.

    Must run as root, be it that of a user namespace: see programs/namespace.

    Raises:
        ToolError: podman or skopeo is missing or failed, no space.
        RechunkError: what the chunker reported.
    """
    find("skopeo")
    env = tool_environment(local_environment(), request.workdir)
    with work_directory(request.workdir) as work:
        write(os.path.join(work, CONFIG), request.config)
        progress("mounting", 0, 0)
        flags = (*request.flags, *previous_flags(request.previous, work))
        with mounted(request.image.id) as root:
            held = request.held
            chunk(root, work, (*flags, *_held_flags(held, work)), request.image.size, env, progress)
            try:
                _import(request, work, env, progress)
                return
            except CommandError as error:
                if not (held and LOST_BLOB.search("\n".join(error.context))):
                    raise
                log.warning("layers that were in storage are gone: writing all of them")
            shutil.rmtree(os.path.join(work, LAYOUT))
            chunk(root, work, flags, request.image.size, env, progress)
        _import(request, work, env, progress)


def _import(request: Request, work: str, env: dict[str, str], progress: Progress) -> None:
    stage = "importing into storage"
    progress(stage, 0, 0)
    skopeo.import_layout(LAYOUT, request.tag, cwd=work, env=env, tick=lambda: progress(stage, 0, 0))


def write_to(request: Request, output: str, progress: Progress) -> bytes:
    """Splits the image into a layout or archive instead of storage; returns the manifest.

    Args:
        output: as `build --output` takes it, its path absolute.

    Raises:
        ToolError, RechunkError: as split().
    """
    env = tool_environment(local_environment(), request.workdir)
    with work_directory(request.workdir) as work:
        write(os.path.join(work, CONFIG), request.config)
        progress("mounting", 0, 0)
        flags = (*request.flags, *previous_flags(request.previous, work))
        with mounted(request.image.id) as root:
            chunk(root, work, flags, request.image.size, env, progress, output=output)
        return (Path(work) / MANIFEST).read_bytes()


def previous_flags(config: bytes | None, work: str) -> tuple[str, ...]:
    """The options that hand the previous image's config to the chunker, by a file in its directory."""
    if config is None:
        return ()
    write(os.path.join(work, PREVIOUS), config)
    return (f"--previous={PREVIOUS}",)


def _held_flags(held: Sequence[str], work: str) -> tuple[str, ...]:
    if not held:
        return ()
    write(os.path.join(work, HELD), json.dumps(list(held)).encode())
    return (f"--held={HELD}",)


def chunk(
    root: str,
    work: str,
    flags: Sequence[str],
    size: int,
    env: dict[str, str],
    progress: Progress,
    *,
    output: str = f"oci:{LAYOUT}",
) -> None:
    """Runs `rechunk-podman build` in the directory `work`: the config lies there, the manifest goes there.

    Args:
        size: bytes of the image, for the progress.

    Raises:
        RechunkError: what the chunker reported.
    """
    command = [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", root, "--config", CONFIG]
    command += ["--output", output, "--write-oci-manifest-to", MANIFEST, *flags]
    lines: list[str] = []

    def tick() -> None:
        progress("writing layers", size_below(work), size)

    try:
        run(
            command,
            env={key: value for key, value in env.items() if key not in _OWN},
            cwd=work,
            on_line=lambda line: relay(line, lines),
            tick=tick,
        )
    except CommandError as error:
        reported = chunker_error(lines, error.status)
        if reported is None:
            raise
        raise reported from error


def relay(line: str, lines: list[str]) -> None:
    """Keeps a line of the chunker's talk, and passes its warnings and its progress on as our own."""
    lines.append(line)
    if line.startswith("warning: "):
        log.warning("%s", line.removeprefix("warning: "))
    elif line.startswith("note: "):
        note(log, "%s", line.removeprefix("note: "))
    elif line.startswith("debug: "):
        log.debug("%s", line.removeprefix("debug: "))
    elif not line.startswith(("error: ", "hint: ", "  ")):
        log.info("%s", line)
