"""Steps of split and index around a push: check the output files before it, write the digest after it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.cli.console import write_line
from rechunk_podman.errors import UsageError
from rechunk_podman.files import require_distinct, require_writable, write_file
from rechunk_podman.oci.reference import DOCKER
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.oci.reference import Target
    from rechunk_podman.split.request import SplitImage

log = logging.getLogger("rechunk_podman")


def upload_line(image: SplitImage) -> str:
    """Return a line with the part of an image that was uploaded, and the image that has the rest.

    The bytes are those that were read for it, at most the size of the new layers.
    """
    layers = [layer.descriptor for layer in image.record.layers if layer.descriptor is not None]
    new = [layer for layer in layers if layer.digest not in image.reused]
    size = sum(layer.size for layer in new)
    amount, total = human_size(min(size, image.read)), human_size(sum(layer.size for layer in layers))
    if amount.rpartition(" ")[2] == total.rpartition(" ")[2]:
        amount = amount.rpartition(" ")[0]
    line = f"{amount} of {total} in {len(new)} of {len(layers)} layers uploaded"
    if len(new) < len(layers):
        source = f" from {image.previous.removeprefix(DOCKER)}" if image.previous else ""
        line += f", {len(layers) - len(new)} {'mounted' if image.mounted else 'reused'}{source}"
    if image.read < size:
        line += "; the registry had the rest of these layers"
    return line if image.platform is None else f"{image.platform}: {line}"


def copy_lines(image: SplitImage, first: Target) -> list[str]:
    """Return a line for each other repository that got the image, with the bytes that had to be copied.

    The bytes are those that were read: they include documents and what skopeo reads at its start.
    """
    total = sum(layer.descriptor.size for layer in image.record.layers if layer.descriptor is not None)
    lines, known = [], {first.repository}
    for copy in image.copies:
        if copy.target.repository in known:
            continue
        known.add(copy.target.repository)
        line = f"{copy.target}: {human_size(min(copy.read, total))} of {human_size(total)} copied"
        if copy.read < total:
            line += f", the rest was mounted from {first.repository}, or was there"
        lines.append(line)
    return lines


def require_writable_files(**files: Path | str | None) -> None:
    """Check that files can be written, before the long work whose results they get.

    Args:
        files: name of the option, without its dashes -> file.

    Raises:
        UsageError: as require_writable(), require_distinct(); or TMPDIR is not a directory.
    """
    temporary = os.environ.get("TMPDIR")
    if temporary and not Path(temporary).is_dir():
        raise UsageError(f"TMPDIR is no directory: {temporary}", hint="make it, or leave the variable out")
    for option, file in files.items():
        if file is not None:
            require_writable(Path(file), f"--{option}")
    require_distinct({f"--{option}": file for option, file in files.items()})


def finish_push(
    targets: Sequence[Target],
    digest: str,
    digestfile: Path | None,
    *,
    sign_hint: bool,
    images: Sequence[SplitImage] = (),
) -> None:
    """Write the digest to its file; print the uploaded parts and a command for signing to stderr.

    In a workflow of GitHub, write the uploaded parts to the summary of the step, too.

    Raises:
        RechunkError: the file cannot be written.
    """
    if digestfile is not None:
        write_file(digestfile, digest.encode())
    lines = [line for image in images for line in (upload_line(image), *copy_lines(image, targets[0]))]
    for line in lines:
        write_line(line, error=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and lines:
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.writelines(f"* `{targets[0]}`: {line}\n" for line in lines)
        except OSError as error:
            log.warning("cannot write the summary %s: %s", summary, error.strerror)
    if sign_hint:
        for repository in dict.fromkeys(target.repository for target in targets):
            write_line(f"cosign sign {repository}@{digest}", error=True)
