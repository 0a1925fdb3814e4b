"""The image to split where it is not in local storage: its documents, and its files for the chunker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rechunk_podman.build.foreign import foreign_layers
from rechunk_podman.build.job import Job
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import ImageRecord, sha256_of
from rechunk_podman.oci.platform import platform_name
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.reference import DOCKER, STORAGE, TRANSPORTS, LocationKind, Pinned, locate
from rechunk_podman.programs.podman import Image, mounted
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.blobs import fetch_layout
from rechunk_podman.registry.documents import image_documents
from rechunk_podman.split.phases import FETCHING, Meter
from rechunk_podman.split.request import SplitRequest, Task

FETCHED = "fetched"
"""The name of the layout to which an image in a registry is fetched, in the working directory."""

EXPANSION = 4
"""Bytes of files for a byte of compressed layers, for the estimate of the space that is needed."""


def location(request: SplitRequest) -> LocationKind:
    """Return the kind of location that has the image to split.

    A text without a transport is a name in storage, unless it begins like a path: many an image has the name
    of a file or directory that is in the working directory.

    Raises:
        UsageError: as locate().
    """
    if request.rootfs is not None:
        return LocationKind.DIRECTORY
    text = request.image
    if text.startswith((DOCKER, "/", "./", "../", *(f"{name}:" for name in TRANSPORTS))):
        return locate(text)[0]
    return LocationKind.STORAGE


def outside_storage(request: SplitRequest, kind: LocationKind, registry: Registry) -> Image:
    """Return the documents of an image that is not in storage; its id is its reference.

    Args:
        registry: its platform is the one that the image must have.

    Raises:
        UsageError: the reference names no image. ImageError: the image is damaged.
        RechunkError: the registry has no such image, or does not answer.
    """
    if request.rootfs is not None:
        given = ImageConfig() if request.config is None else ImageConfig.parse(request.config)
        config = json.dumps({"architecture": given.architecture, "os": given.os})
        return Image(request.rootfs, (), config.encode(), b"", 0)
    if kind is LocationKind.REGISTRY:
        record = image_documents(request.image, registry)
        return _image(request.image, record, _size(record))
    with open_image(locate(request.image)[1], registry.platform) as source:
        return _image(
            request.image, source.record, _size(source.record) or sum(source.store.sizes().values())
        )


def _size(record: ImageRecord) -> int:
    return EXPANSION * sum(layer.descriptor.size for layer in record.layers if layer.descriptor)


def _image(reference: str, record: ImageRecord, size: int) -> Image:
    return Image(reference, (), record.config_bytes, record.manifest or b"", size)


@contextmanager
def with_files(task: Task, job: Job, work: str, meter: Meter) -> Iterator[Job]:
    """Yield the job with the root filesystem or the layers of the task's image.

    Args:
        work: the working directory of the chunker.

    Raises:
        ToolError: podman may not mount the image; the registry did not answer; there is no space.
    """
    platform = platform_name(ImageConfig.parse(task.image.config)) or None
    if task.kind is LocationKind.STORAGE:
        with mounted(task.image.id) as root:
            yield replace(job, rootfs=root)
    elif task.kind is LocationKind.DIRECTORY:
        yield replace(job, rootfs=str(Path(task.image.id).absolute()))
    elif task.kind is LocationKind.REGISTRY:
        meter.begin(FETCHING, task.image.size // EXPANSION)
        repository = names.parse(task.image.id.removeprefix(DOCKER)).repository
        pinned = Pinned(repository, sha256_of(task.image.manifest))
        fetch_layout(pinned, FETCHED, task.source, cwd=work, tick=meter.tick)
        yield replace(job, rootfs=".", layers=f"oci:{FETCHED}")
    else:
        layers = locate(task.image.id)[1]
        yield replace(job, rootfs=".", layers=_absolute(layers), platform=platform)


def with_previous_layers(task: Task) -> Job:
    """Return the job; let the chunker read the previous image if other tools made layers of it.

    Only for a previous image on this machine. Its blobs are copied, and not named again.
    """
    before = task.previous
    local = (LocationKind.IMAGE, LocationKind.STORAGE)
    if before is None or before.kind not in local or not task.job.options.adopt:
        return task.job
    if not foreign_layers(before.record):
        return task.job
    name = locate(before.reference)[1]
    place = f"{STORAGE}{name}" if before.kind is LocationKind.STORAGE else _absolute(name)
    return replace(task.job, previous=place, previous_config=None, reuse=False)


def _absolute(reference: str) -> str:
    """Return the reference of a layout or archive for a process in another directory."""
    transport, colon, path = reference.partition(":")
    if not colon or transport not in TRANSPORTS:
        return str(Path(reference).absolute())
    return f"{transport}:{Path(path).absolute()}"
