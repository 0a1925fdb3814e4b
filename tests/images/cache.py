"""Build images once and keep them between runs, under `$XDG_CACHE_HOME/rechunk-podman/images`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


class MissingTool(Exception):
    """A builder needs a program that is not installed; str() names it."""


def cache_dir() -> Path:
    """The folder of all cached images; created where it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "rechunk-podman" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, version: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` filled, from the cache where it stands there already.

    `build` gets an empty folder beside the final one, which is renamed into place when it returns. Two runs
    at once build it once: the second waits. Other versions of the name are removed after a new one was built.

    Args:
        name: of the image; without a dot.
        version: changes whenever what `build` makes would.
    """
    base = cache_dir()
    final = base / f"{name}.{version}"
    if final.is_dir():
        return final
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=base))
        try:
            build(aside)
            aside.chmod(0o755)
            aside.rename(final)
        finally:
            if aside.is_dir():
                shutil.rmtree(aside)
        for other in base.glob(f"{name}.*"):
            if other != final and other.is_dir():
                shutil.rmtree(other)
    return final


def need(*tools: str) -> None:
    """Raises MissingTool for the first program that is not on PATH (or in an sbin folder)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for tool in tools:
        if shutil.which(tool, path=path) is None:
            raise MissingTool(tool)


def call(
    *command: str | os.PathLike[str], env: dict[str, str] | None = None, stdin: str | None = None
) -> str:
    """Runs a command to its end and returns its standard output.

    Raises:
        RuntimeError: it failed; the message holds the command and the end of what it said.
    """
    done = subprocess.run(
        [os.fspath(word) for word in command],
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"exit {done.returncode}: {_shown(command)}\n{said}")
    return done.stdout


def _shown(command: Sequence[str | os.PathLike[str]]) -> str:
    return " ".join(os.fspath(word) for word in command)[:500]


def pack(root: Path, archive: Path) -> None:
    """Writes `root` as a PAX tar with owners by number and all xattrs, and the root directory as `./`.

    trusted.* and the overlay's own attributes have no place in an image and are left out.
    """
    call(
        "tar",
        "--create",
        "--format=posix",
        "--pax-option=delete=atime,delete=ctime",
        "--sort=name",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--xattrs-exclude=trusted.*",
        "--xattrs-exclude=security.selinux",
        "--sparse",
        "--file",
        archive,
        "--directory",
        root,
        ".",
    )


def unpack(archive: Path, root: Path, *paths: str) -> None:
    """Extracts a tar (or the named paths of it) into `root`, with owners by number and all xattrs."""
    root.mkdir(parents=True, exist_ok=True)
    call(
        "tar",
        "--extract",
        "--same-permissions",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--file",
        archive,
        "--directory",
        root,
        *paths,
    )
