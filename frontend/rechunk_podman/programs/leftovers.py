"""Leftovers of killed runs: temporary directories, mounted images, working containers, untagged images.

A run records what it changes in storage in a locked temporary directory (temporary.py), before it does so.
Another run that finds the lock free undoes what the record says, and then removes the directory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rechunk_podman.errors import ToolError
from rechunk_podman.files import spool_directory
from rechunk_podman.log import NOTE
from rechunk_podman.programs import buildah
from rechunk_podman.programs.process import CommandError, local_environment, run, which
from rechunk_podman.signals import signals_deferred
from rechunk_podman.temporary import dead

log = logging.getLogger(__name__)

RECORD = "changes.json"
MOUNTED = "mounted"
"""A file beside the record: the mount has succeeded."""

_STORAGE_VARIABLES = (
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
    "CONTAINERS_STORAGE_CONF",
    "HOME",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
)
"""Variables that decide which storage the tools work on."""


def _boot_id() -> str:
    """Return the id that the kernel chose when it started (random(4)); empty without /proc."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that a run may make in storage.

    image: id of an image that it mounts, hex digits.
    mounts: mount points of the machine before the run.
    split: True if the run imports or builds an image.
    untagged: ids of the untagged images before the run.
    containers: ids of the containers before the run.
    bases: ids or names of the images that a build begins with; empty without buildah.
    env: the variables that select the storage.
    boot: the id of the start of the machine, which ends all mounts.
    """

    image: str | None = None
    mounts: tuple[str, ...] = ()
    split: bool = False
    untagged: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    env: Mapping[str, str] = field(
        default_factory=lambda: {name: os.environ[name] for name in _STORAGE_VARIABLES if name in os.environ}
    )
    boot: str = field(default_factory=_boot_id)

    def record(self, directory: str) -> None:
        """Write the record into a locked temporary directory (OSError)."""
        path = Path(directory, RECORD)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(asdict(self)))
        aside.rename(path)


def mount_points() -> tuple[str, ...]:
    """Return the mount points of this mount namespace, as mountinfo spells them (proc_pid_mountinfo(5))."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return tuple(line.split()[4] for line in lines)


def places(workdir: str | None = None) -> tuple[str, ...]:
    """Return the directories in which runs of this user make temporary directories."""
    found = (workdir, spool_directory(), "/var/tmp", tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"))  # noqa: S108
    return tuple(dict.fromkeys(os.path.realpath(path) for path in found if path))


_cleared: set[tuple[str, ...]] = set()
"""Places that this process has cleared already."""


def clear_once(workdir: str | None = None) -> None:
    """Call clear() and log its result, once in each process for the same directories."""
    where = places(workdir)
    if where not in _cleared:
        _cleared.add(where)
        for line in clear(where):
            log.log(NOTE, "removed what a killed run left: %s", line)


def clear(where: Sequence[str]) -> list[str]:
    """Remove the leftovers of killed runs of this user in these directories; return a line of text for each.

    Leftovers that only root of a user namespace can undo stay if this process is not root there.
    """
    removed = []
    for folder in where:
        for path in dead(folder, keep=_is_for_root):
            removed += _undo(path)
            removed.append(f"the directory {path}")
    return removed


def needs_root(where: Sequence[str]) -> bool:
    """Return True if killed runs left something in `where` that root may undo and this process may not."""
    kept: list[str] = []

    def keep(path: str) -> bool:
        kept.extend([path] if _is_for_root(path) else [])
        return True

    for folder in where:
        for _ in dead(folder, keep=keep):
            pass
    return bool(kept)


def _is_for_root(path: str) -> bool:
    return os.geteuid() != 0 and Path(path, RECORD).exists()


def _undo(path: str) -> list[str]:
    """Undo the changes that the record in a directory names; return a line for each. Log failures."""
    try:
        document = json.loads(Path(path, RECORD).read_bytes())
        changes = Changes(**document)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("the record of a killed run in %s is not readable: %s", path, error)
        return []
    conf = changes.env.get("CONTAINERS_STORAGE_CONF")
    if (conf and not Path(conf).exists()) or which("podman") is None:
        return []  # that storage is gone
    rest = {name: value for name, value in local_environment().items() if name not in _STORAGE_VARIABLES}
    env = {**rest, **changes.env}
    done = []
    try:
        if changes.image is not None and _is_ours(changes, path, env):
            unmount(changes.image, env)
            done.append(f"the mount of image {changes.image[:12]}")
        if changes.split:
            containers, images = _remove_made(path, changes, env)
            done += [f"the working container {name[:12]}" for name in containers]
            done += [f"the untagged image {name[:12]}" for name in images]
    except ToolError as error:
        log.warning("what a killed run left is still there: %s", "; ".join((error.message, *error.context)))
    return done


def unmount(image: str, env: Mapping[str, str]) -> None:
    """Unmount an image once; mounts by other processes stay (ToolError)."""
    with signals_deferred():
        run(["podman", "image", "unmount", image], env=env)


def _is_ours(changes: Changes, path: str, env: Mapping[str, str]) -> bool:
    """Return True if the image is mounted, and the run in `path` mounted it since the machine started."""
    if changes.boot != _boot_id():
        return False
    text = run(["podman", "image", "mount", "--format=json"], env=env).text or "[]"
    for entry in json.loads(text) or ():
        # podman 4.3 calls it `mountpoint`, and the image's id `id`
        keys = {key.lower(): value for key, value in entry.items()}
        if str(keys.get("id")).removeprefix("sha256:") == changes.image:
            return Path(path, MOUNTED).exists() or str(keys.get("mountpoint")) not in changes.mounts
    return False


@contextmanager
def split_recorded(
    work: str,
    untagged: Sequence[str],
    env: Mapping[str, str],
    *,
    containers: Sequence[str] = (),
    bases: Sequence[str] = (),
) -> Iterator[None]:
    """Record that a split in the directory `work` makes an image, and remove what it leaves.

    These are its working containers (buildah 1.28 keeps, mounted, those of stages without instructions, even
    if the build succeeds) and, if it fails, its untagged images.

    Args:
        untagged: ids of the images that had no name before the split; they stay.
        containers, bases: see Changes.

    Raises:
        ToolError: the split succeeded, and buildah or podman cannot remove its working containers.
    """
    changes = Changes(split=True, untagged=tuple(untagged), containers=tuple(containers), bases=tuple(bases))
    changes.record(work)
    try:
        yield
    except BaseException:
        try:
            _remove_made(work, changes, env)
        except ToolError as error:
            log.warning("containers or untagged images may be left behind: %s", error.message)
        raise
    if bases:
        buildah.remove_containers(work, env, containers, bases)


def _remove_made(work: str, changes: Changes, env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Remove the working containers and untagged images of a split that failed; return their ids.

    The containers go first, since an image stays while a container has it. The last stage begins with the
    result itself, which may have no name yet.

    Raises:
        ToolError: podman or buildah failed.
    """
    images = _made_images(work, changes.untagged, env)
    containers: list[str] = []
    if changes.bases and which("buildah") is not None:
        containers = buildah.remove_containers(work, env, changes.containers, (*changes.bases, *images))
    return containers, _remove_images(images, env)


def untagged_images(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of the images in storage that have no name (ToolError)."""
    listed = run(
        ["podman", "images", "--quiet", "--no-trunc", "--filter=dangling=true"], env=env
    ).text.split()
    return tuple(dict.fromkeys(name.removeprefix("sha256:") for name in listed))


def _made_images(work: str, before: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the ids of the untagged images that a split in the directory `work` made.

    Such an image has the id of the result, or its layers and labels: buildah writes a config of its own.

    Args:
        before: ids of images that are of others in any case.

    Raises:
        ToolError: podman failed.
    """
    config = _result_config(work)
    if config is None:
        return []
    own = hashlib.sha256(config.encode()).hexdigest()
    document = json.loads(config)
    layers = (document.get("rootfs") or {}).get("diff_ids")
    labels = _without_buildahs((document.get("config") or {}).get("Labels"))
    new = set(untagged_images(env)) - set(before)
    return sorted(name for name in new if name == own or _facts(name, env) == (layers, labels))


def _remove_images(images: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Remove images; return the ids of those that no container has and that have no name."""
    removed = []
    for name in images:
        try:
            with signals_deferred():
                run(["podman", "image", "rm", name], env=env)
        except CommandError as error:  # a container has it, or it has got a name
            log.info("the untagged image %s stays: %s", name[:12], error.message)
        else:
            removed.append(name)
    return removed


def _facts(name: str, env: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the diff_ids and labels of an image, without buildah's labels; (None, None) if it is gone."""
    try:
        (found,) = json.loads(run(["podman", "image", "inspect", name], env=env).stdout)
    except CommandError:
        return None, None
    return (found.get("RootFS") or {}).get("Layers"), _without_buildahs(found.get("Labels"))


def _without_buildahs(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the labels that buildah does not set."""
    return {key: value for key, value in (labels or {}).items() if not key.startswith("io.buildah.")}


def _result_config(work: str) -> str | None:
    """Return the config in the result of a job (docs/jobs.md), or None if there is none."""
    try:
        config = json.loads(Path(work, "result.json").read_bytes()).get("config")
    except (OSError, ValueError, AttributeError):
        return None
    return config if isinstance(config, str) else None
