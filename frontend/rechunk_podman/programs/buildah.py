"""buildah: its version, and the working containers that its builds leave behind."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rechunk_podman.errors import ToolError
from rechunk_podman.patterns import compile_later
from rechunk_podman.programs.process import redact, run
from rechunk_podman.signals import signals_deferred

log = logging.getLogger(__name__)

Version = tuple[int, ...]

_WORKING = compile_later(r"-working-container(-\d+)?\Z")
"""The end of the names that buildah gives its containers."""


def version(env: Mapping[str, str] | None = None) -> Version:
    """Return the version of the buildah that is installed.

    Raises:
        ToolError: it is not installed, or prints no version.
    """
    return parse_version(run(["buildah", "--version"], env=env).text)


def parse_version(text: str) -> Version:
    """Return (1, 28, 2) for `buildah version 1.28.2 (image-spec …)`.

    Raises:
        ToolError: there is no version in it.
    """
    match = re.search(r"version v?(\d{1,9}(?:\.\d{1,9})*)", text)
    if match is None:
        raise ToolError("buildah does not tell its version", context=[text[:200]])
    return tuple(int(part) for part in match[1].split("."))


def container_ids(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of all containers in storage (ToolError)."""
    return tuple(str(container["id"]) for container in _containers(env))


def remove_containers(
    volume: str, env: Mapping[str, str], before: Collection[str], images: Collection[str]
) -> list[str]:
    """Remove the working containers of a build and return their ids. Containers of other builds stay.

    A container belongs to the build if it has the volume or, where buildah ended before it recorded volumes,
    if it has the name of a working container of one of the images.

    Args:
        volume: the path on the host that the build mounts as a volume, a directory of this build alone.
        before: ids of containers that stay in any case.
        images: ids or names of the images that the build begins with.

    Raises:
        ToolError: buildah failed.
    """
    new = [container for container in _containers(env) if container["id"] not in before]
    if not new:
        return []
    store = json.loads(run(["buildah", "info"], env=env).stdout)["store"]
    folder = Path(store["GraphRoot"]) / f"{store['GraphDriverName']}-containers"
    left = []
    for container in new:
        data = folder / container["id"] / "userdata"
        if container.get("builder"):
            is_ours = _has_volume(data / "buildah.json", volume)
        else:
            names = {container.get("imageid"), container.get("imagename")}
            is_working = _WORKING.search(str(container.get("containername"))) is not None
            is_ours = is_working and bool(names & set(images)) and not (data / "config.json").exists()
        if is_ours:
            left.append(str(container["id"]))
    if left:
        with signals_deferred():
            run(["buildah", "rm", *left], env=env)
    return left


def _containers(env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return all containers in storage; `builder` is true if buildah has a record of the container."""
    return json.loads(run(["buildah", "containers", "--all", "--json"], env=env).stdout or b"[]") or []


def _has_volume(path: Path, volume: str) -> bool:
    """Return True if buildah's record of a working container has a volume with this path on the host."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        log.debug("container %s: %s", redact(str(path)), error)
        return False
    volumes = ((record.get("common_build_opts") or record.get("CommonBuildOpts")) or {}).get("Volumes") or []
    return any(str(text).startswith(volume + ":") for text in volumes)
