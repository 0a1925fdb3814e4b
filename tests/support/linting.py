"""Small images and root filesystems for the tests of lint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rechunk_podman.lint import run as registry
from rechunk_podman.lint.checks import Result, Subject
from rechunk_podman.lint.subject import of_directory
from rechunk_podman.oci.config import ImageConfig, image_config_json
from rechunk_podman.oci.documents import ImageRecord, image_record
from rechunk_podman.rootfs.root import Root


def make(top: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """A root filesystem: path -> content; None: a directory; a text that begins with `->`: a symlink."""
    for path, content in files.items():
        target = top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            target.mkdir(exist_ok=True)
        elif isinstance(content, str) and content.startswith("->"):
            target.symlink_to(content.removeprefix("->"))
        else:
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return top


def labelled(*, env: tuple[str, ...] = (), **labels: str) -> ImageRecord:
    """Documents of an image without layers; `_` in the names of labels stands for a dot."""
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        config={"Labels": {key.replace("_", "."): value for key, value in labels.items()}, "Env": list(env)},
    )
    return image_record("an-image", None, image_config_json(config, [], [], 0))


def found(
    top: Path,
    check: str,
    *,
    record: ImageRecord | None = None,
    bootable: bool | None = None,
    zstd_chunked: bool = False,
) -> list[Result]:
    """Return the findings of one check in a root filesystem on disk."""
    with Root(top) as root:
        subject = of_directory(root, record=record, bootable=bootable, zstd_chunked=zstd_chunked)
        return results(subject, check)


def results(subject: Subject, check: str) -> list[Result]:
    """Return the results of one check."""
    return registry.run(subject, registry.chosen(only=[check]))


def link(top: Path, *paths: str) -> None:
    """Makes a file with these names."""
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / paths[0]).write_text("linked")
    for path in paths[1:]:
        os.link(top / paths[0], top / path)
