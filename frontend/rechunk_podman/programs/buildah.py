"""buildah: its version, and the working containers that its builds leave behind."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.process import redact, run, signals_deferred

log = logging.getLogger(__name__)

Version = tuple[int, ...]


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
    match = re.search(r"version v?(\d+(?:\.\d+)*)", text)
    if match is None:
        raise ToolError("buildah does not tell its version", context=[text[:200]])
    return tuple(int(part) for part in match[1].split("."))


@contextmanager
def removing_containers(volume: str, env: Mapping[str, str]) -> Iterator[None]:
    """Remove the working containers with a volume of this source that a build in the context leaves behind.

    buildah 1.28 keeps, mounted, the containers of stages without instructions even when the build succeeds;
    others stay when it is interrupted. Containers of other builds, which may be running, stay.

    Args:
        volume: the path on the host that the build mounts as a volume, a directory of this build alone.

    Raises:
        ToolError: buildah failed.
    """
    before = _containers(env)
    try:
        yield
    finally:
        remove_containers(volume, env, before)


def remove_containers(volume: str, env: Mapping[str, str], before: Collection[str] = ()) -> list[str]:
    """Remove the working containers with a volume of this source; return their ids.

    Args:
        before: ids of containers that stay in any case.

    Raises:
        ToolError: buildah failed.
    """
    left = [name for name in _containers(env) - set(before) if _has_volume(name, volume, env)]
    if left:
        with signals_deferred():
            run(["buildah", "rm", *left], env=env)
    return left


def _containers(env: Mapping[str, str]) -> set[str]:
    listed = json.loads(run(["buildah", "containers", "--json"], env=env).stdout or b"[]") or []
    return {str(container["id"]) for container in listed if container.get("builder")}


def _has_volume(container: str, volume: str, env: Mapping[str, str]) -> bool:
    """Return True if buildah's own record of a working container has a volume of this source."""
    store = json.loads(run(["buildah", "info"], env=env).stdout)["store"]
    root = Path(store["GraphRoot"]) / f"{store['GraphDriverName']}-containers" / container
    try:
        record = json.loads((root / "userdata" / "buildah.json").read_bytes())
    except (OSError, ValueError) as error:
        log.debug("container %s: %s", redact(container), error)
        return False
    volumes = ((record.get("common_build_opts") or record.get("CommonBuildOpts")) or {}).get("Volumes") or []
    return any(str(text).startswith(volume + ":") for text in volumes)
