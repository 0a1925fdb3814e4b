"""What `build` is given: root filesystem, image config, output, compression, what earlier images recorded."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write.output import Output, OutputKind

if TYPE_CHECKING:
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.planning.ledger import Ledger

log = logging.getLogger("rechunk_podman")

ROOTFS_MOUNTS = ("/chunkah", "/rootfs")
COMPRESSIONS = ("none", "gzip", "zstd")

_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
"""A name in an OCI layout may be a tag alone, as `skopeo copy … oci:DIR:TAG` writes it."""


def find_rootfs(given: str | None) -> str:
    """The root filesystem to read: as given, from the environment, or where a builder stage is mounted.

    Raises:
        UsageError: none is named and none is mounted, or it is not a directory.
    """
    named = given or os.environ.get("RECHUNK_ROOTFS") or os.environ.get("CHUNKAH_ROOTFS") or None
    if named is None:
        named = next((path for path in ROOTFS_MOUNTS if _holds_something(path)), None)
    if named is None:
        raise UsageError(
            "no root filesystem to read",
            hint="give --rootfs DIR, set RECHUNK_ROOTFS, or mount the builder stage at /chunkah",
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


def named_output(text: str | None, tag: str | None) -> tuple[Output, str | None]:
    """Where the image goes, and the reference that it carries: --tag, or the one behind an output's path.

    Raises:
        UsageError: the output is none; the reference is none; there are two.
    """
    output, named = Output.parse(text), tag
    if output.tag is not None:
        if tag is not None and tag != output.tag:
            raise UsageError(
                f"two names for the image: --tag {tag}, and {output.tag} in --output", hint="give one of them"
            )
        output, named = replace(output, tag=None), output.tag
    if named is not None and not (_TAG.match(named) and output.kind is not OutputKind.DOCKER_ARCHIVE):
        from rechunk_podman.oci import reference as names

        if names.parse(named).digest:
            raise UsageError(f"a digest cannot be given as a name: {named}", hint="give -t NAME[:TAG]")
    return output, named


def warn_of_output_within(rootfs: str, output: Output) -> None:
    """A warning where the image is written into the root filesystem, and the next one would hold this one."""
    if output.path is None:
        return
    top, place = Path(rootfs).resolve(), Path(output.path).resolve()
    if place.is_relative_to(top):
        log.warning(
            "%s lies in the root filesystem: what is there already becomes part of the image (--prune /%s)",
            output.path,
            place.relative_to(top),
        )


def compression_of(compression: str | None, compressed: bool) -> str:
    """`none`, `gzip` or `zstd`, from --compression and chunkah's --compressed (gzip).

    Raises:
        UsageError: unknown, or the two contradict each other.
    """
    if compression is None:
        return "gzip" if compressed else "none"
    if compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", hint="one of: " + ", ".join(COMPRESSIONS))
    if compressed and compression != "gzip":
        raise UsageError(
            f"--compressed means gzip, --compression says {compression}", hint="give one of them"
        )
    return compression


def config_text(config: Path | None, config_str: str | None) -> str | None:
    """The text of the image config: of the file, else the string (or its environment variables), else None.

    Raises:
        UsageError: both are given, or the file cannot be read.
    """
    if config is not None and config_str is not None:
        raise UsageError("--config and --config-str exclude each other", hint="give one of them")
    if config is not None:
        try:
            return config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the config {config}",
                context=[str(error)],
                hint="give a file with an image config, or with what `podman inspect IMAGE` prints",
            ) from error
    if config_str is not None:
        return config_str
    # An unset build argument arrives as an empty string.
    return os.environ.get("RECHUNK_CONFIG_STR") or os.environ.get("CHUNKAH_CONFIG_STR") or None


def memories(previous: Previous | None, config_text: str | None) -> tuple[Ledger | None, Ledger | None]:
    """What the image before this one, and the one it is derived from, recorded; warnings where they did not.

    Raises:
        UsageError: the config is malformed.
    """
    from rechunk_podman.build import image_ledger as record
    from rechunk_podman.oci.config import ImageConfig

    before = None if previous is None else record.remembered(previous.record.config, previous.reference)
    if config_text is None:
        return record.memories(before, None)
    source = ImageConfig.parse(config_text)
    return record.memories(before, record.inherited(source, "the image config"))
