"""Open an image or a root filesystem by reference: its files (`open_root`, `open_unpacked`), or its layers.

`locate()` in oci/reference.py says what a reference may be. Layers of an image in a registry are fetched when
they are read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.errors import UsageError
from rechunk_podman.log import note
from rechunk_podman.model import Tree
from rechunk_podman.oci.documents import ImageRecord, image_record
from rechunk_podman.oci.read.image import ImageSource, open_image
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.rootfs.root import Root
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.programs.podman import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRoot:
    """A root filesystem that can be read until its context ends.

    name: the reference as the caller wrote it.
    files: a Root for a directory or a mounted image; an ImageSource, which reads files from layers, for an
        image in a layout, an archive or a registry.
    record: the documents of the image; None for a directory.
    """

    name: str
    files: Root | ImageSource
    record: ImageRecord | None = None


@contextmanager
def open_root(reference: str, registry: Registry = DEFAULT, *, is_image: bool = False) -> Iterator[OpenRoot]:
    """Open the root filesystem that a reference names; mount it read-only if it is an image in storage.

    Args:
        registry: access to registries; its platform is the one that the image must have.
        is_image: take the name of a directory for the name of an image in storage.

    Raises:
        UsageError: the reference names nothing, or nothing that has files.
        NamespaceRequiredError: the image is in storage, and this process is that of an ordinary user.
        ImageError: the image is damaged. ToolError: podman or skopeo is missing or failed.
        RootfsError: the directory cannot be read.
    """
    kind, name = locate(reference)
    if kind is LocationKind.STORAGE or (is_image and kind is LocationKind.DIRECTORY):
        from rechunk_podman.programs.namespace import require_root
        from rechunk_podman.programs.podman import mounted

        image = _in_storage(name, registry.platform)
        require_root()
        record = image_record(reference, image.manifest, image.config)
        with mounted(image.id) as path, Root(path) as root:
            yield OpenRoot(reference, root, record)
    elif kind is LocationKind.DIRECTORY:
        if registry.platform is not None:
            raise UsageError(f"a directory has no platform: {reference}", hint="leave out --arch")
        with Root(name) as root:
            yield OpenRoot(reference, root)
    elif kind is LocationKind.IMAGE:
        with open_image(name, registry.platform) as source:
            yield OpenRoot(reference, source, source.record)
    elif kind is LocationKind.REGISTRY:
        from rechunk_podman.registry.blobs import open_registry_image

        with open_registry_image(reference, registry) as source:
            sizes = [layer.descriptor.size for layer in source.record.layers if layer.descriptor]
            note(log, "%s is fetched: %s in %d layers", reference, human_size(sum(sizes)), len(sizes))
            yield OpenRoot(reference, source, source.record)
    else:
        raise _without_files(reference)


@contextmanager
def open_unpacked(reference: str, registry: Registry = DEFAULT) -> Iterator[tuple[Root, Tree | None]]:
    """Open the files that a reference names; unpack an image that is not in storage into a private directory.

    Yield the files, and the Tree with the metadata that the layers state. It is None where the files
    themselves have their metadata: in a directory and in a mounted image. Unpacking needs no root.

    Raises:
        RechunkError: as open_root(). ImageError, ToolError: as unpack() and work_directory().
    """
    with open_root(reference, registry) as opened:
        if isinstance(opened.files, Root):
            yield opened.files, None
            return
        from rechunk_podman.oci.read.unpack import unpack
        from rechunk_podman.programs.work import work_directory

        with work_directory() as folder:
            top = Path(folder, "rootfs")
            top.mkdir(mode=0o700)
            tree = unpack(opened.files, str(top))
            with Root(top) as root:
                yield root, tree


@contextmanager
def open_layers(reference: str, registry: Registry = DEFAULT) -> Iterator[ImageSource]:
    """Open the image that a reference names, to read its layers; copy it first if it is in local storage.

    Layers of an image in a registry are fetched when they are read.

    Raises:
        UsageError: the reference names nothing or a directory.
        ImageError: the image is damaged. ToolError: podman or skopeo is missing or failed.
    """
    kind, name = locate(reference)
    if kind is LocationKind.IMAGE:
        with open_image(name, registry.platform) as source:
            yield source
    elif kind is LocationKind.STORAGE:
        from rechunk_podman.programs.process import local_environment
        from rechunk_podman.programs.skopeo import export_layout
        from rechunk_podman.programs.work import work_directory

        image = _in_storage(name, registry.platform)
        with work_directory() as folder:
            export_layout(image.id, "image", cwd=folder, env=local_environment())
            with open_image(f"oci:{Path(folder) / 'image'}") as source:
                yield source
    elif kind is LocationKind.REGISTRY:
        from rechunk_podman.registry.blobs import open_registry_image

        with open_registry_image(reference, registry) as source:
            yield source
    elif kind is LocationKind.DIRECTORY:
        raise UsageError(
            f"a directory has no layers: {reference}", hint="`rechunk-podman verify A B` compares files"
        )
    else:
        raise _without_files(reference)


def _in_storage(name: str, platform: str | None) -> Image:
    # podman-py takes longer to import than all modules of this package.
    from rechunk_podman.programs.podman import connect

    with connect() as podman:
        return podman.resolve(name, platform)


def _without_files(reference: str) -> UsageError:
    return UsageError(f"a saved config has no files: {reference}", hint="name the image itself")
