"""Options that only `build` has; find the root filesystem and the image config by options and environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rechunk_podman.cli.options import Rootfs, for_input, for_layers, for_output, for_work
from rechunk_podman.errors import UsageError
from rechunk_podman.log import note
from rechunk_podman.oci.write.output import Output

if TYPE_CHECKING:
    from rechunk_podman.components.group_file import Groups

log = logging.getLogger("rechunk_podman")

ROOTFS_MOUNTS = ("/chunkah", "/rootfs")


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """The input and output files of `build` besides the image, as in chunkah: a group of options."""

    rootfs: Rootfs = None
    config_str: Annotated[
        str | None,
        for_input(
            metavar="JSON", help="Text of the image config (or RECHUNK_CONFIG_STR, CHUNKAH_CONFIG_STR)."
        ),
    ] = None
    compressed: Annotated[bool, for_layers("--compressed", help="chunkah's word for --compression gzip.")] = (
        False
    )
    write_manifest_to: Annotated[
        Path | None,
        for_output(metavar="FILE", help="Write the manifest, and the files of each component, to FILE."),
    ] = None
    write_peak_mem_to: Annotated[
        Path | None, for_work(metavar="FILE", help="Write the peak memory usage, in bytes, to FILE.")
    ] = None
    trace_logfile: Annotated[
        Path | None, for_work(metavar="FILE", help="Write the messages of -vv to FILE.")
    ] = None

    def written(self) -> dict[str, Path | None]:
        """Return the files to write, by their options."""
        return {
            "--write-manifest-to": self.write_manifest_to,
            "--write-peak-mem-to": self.write_peak_mem_to,
            "--trace-logfile": self.trace_logfile,
        }

    def compression(self, kind: str | None) -> str | None:
        """Return the compression that --compressed and `--compression KIND` ask for.

        Raises:
            UsageError: the options contradict each other.
        """
        if self.compressed and kind not in (None, "gzip"):
            raise UsageError(f"--compressed means gzip, --compression says {kind}", hint="give one of them")
        return "gzip" if self.compressed else kind


def find_rootfs(given: str | None) -> str:
    """Return the root filesystem: the given one, that of the environment, or a mount of a builder stage.

    Raises:
        UsageError: no root filesystem is named or mounted, or it is not a directory.
    """
    named = given or os.environ.get("RECHUNK_ROOTFS") or os.environ.get("CHUNKAH_ROOTFS") or None
    if named is None:
        named = next((path for path in ROOTFS_MOUNTS if _holds_something(path)), None)
    if named is None:
        raise UsageError(
            "no root filesystem to read",
            hint="give --rootfs DIR, set RECHUNK_ROOTFS, or mount it at /rootfs",
        )
    if not Path(named).is_dir():
        raise UsageError(f"not a directory: {named}", hint="--rootfs takes the mounted root filesystem")
    return named


def _holds_something(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def warn_of_output_within(rootfs: str, output: Output) -> None:
    """Log a warning if the image is written into the root filesystem: the next image would hold it."""
    if output.path is None:
        return
    top, place = Path(rootfs).resolve(), Path(output.path).resolve()
    if place.is_relative_to(top):
        log.warning(
            "%s lies in the root filesystem: earlier files there become part of the image (--prune /%s)",
            output.path,
            place.relative_to(top),
        )


def note_missing_config() -> None:
    """Log that the image has no config: in a Containerfile nothing else shows that the base had one."""
    note(
        log,
        "no image config is given: the image has no command, no variables and no labels "
        "(--config FILE, or RECHUNK_CONFIG_STR with what podman inspect prints)",
    )


def given_config(file: str | None, string: str | None) -> str | None:
    """Return the text of the image config: of the file, else the string (or its variables), else None.

    Raises:
        UsageError: both the file and the string are given.
    """
    if file is not None and string is not None:
        raise UsageError("--config and --config-str exclude each other", hint="give one of them")
    given = string if file is None else file
    if given is not None:
        return given
    # An unset build argument is an empty string here.
    return os.environ.get("RECHUNK_CONFIG_STR") or os.environ.get("CHUNKAH_CONFIG_STR") or None


def groups_of(files: Sequence[str] | None) -> Groups:
    """Return the groups in the files of `--groups`.

    Raises:
        UsageError: a file cannot be read, or is no groups file.
    """
    from rechunk_podman.components.group_file import Groups, load

    return load(files) if files else Groups()


def absolute_files(files: Sequence[str] | None) -> tuple[str, ...]:
    """Return the files of `--map` or `--groups` as absolute paths; the names of ready groups stay."""
    from rechunk_podman.components.group_file import READY

    return tuple(name if name in READY else str(Path(name).absolute()) for name in files or ())
