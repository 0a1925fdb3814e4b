"""The layers of the previous image that another tool made, opened to be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from rechunk_podman.build import image_ledger
from rechunk_podman.build.adopt import Foreign
from rechunk_podman.build.known_layers import CACHE, CACHE_BYTES
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.previous import Previous, compressions
from rechunk_podman.errors import ImageError, RechunkError
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.cache import open_cache
from rechunk_podman.oci.read.image import ImageSource, open_image
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.oci.reuse import Reuse, reusable
from rechunk_podman.programs.process import local_environment
from rechunk_podman.programs.skopeo import export_layout
from rechunk_podman.programs.work import work_directory
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.blobs import open_registry_image

log = logging.getLogger(__name__)


def foreign_layers(record: ImageRecord) -> tuple[int, ...]:
    """Return the numbers, from 0, of the layers of an image that another tool made.

    These are all layers of an image without a Ledger, else those that its history says were kept. An image
    with an unusable Ledger has none: rechunk-podman wrote its layers.
    """
    if not image_ledger.has_ledger(record.config):
        return tuple(range(len(record.layers)))
    kept = image_ledger.KEPT_CREATED_BY
    return tuple(
        index
        for index, layer in enumerate(record.layers)
        if layer.history is not None and layer.history.created_by == kept
    )


def copyable(previous: Previous, options: BuildOptions, *, is_named: bool) -> Reuse:
    """Return the layers of the previous image that can be copied into the new one: diff_id -> descriptor.

    These are layers of an image on this machine. In a compressed image they are copied as the blobs that they
    are, since clients know a layer by its blob; where nothing is compressed the tar is copied (None).

    Args:
        is_named: the new image names the blobs of the previous one, so that no copy is needed.
    """
    if previous.kind not in (LocationKind.IMAGE, LocationKind.STORAGE):
        return {}
    if options.compression.kind == "none":
        return dict.fromkeys(layer.diff_id for layer in previous.record.layers)
    if is_named or previous.kind is LocationKind.STORAGE:
        return {}
    return dict(reusable(previous.record, compressions(options)))


@contextmanager
def opened_foreign(previous: Previous, registry: Registry, copies: Reuse) -> Iterator[Foreign]:
    """Open the previous image, whose layers are fetched or exported when they are read.

    Args:
        copies: see copyable().

    Raises:
        ImageError: the image is damaged, or another one is there now. ToolError: skopeo is missing or failed.
    """
    with ExitStack() as stack:
        if previous.kind is LocationKind.REGISTRY:
            image = stack.enter_context(open_registry_image(previous.reference, registry))
        elif previous.kind is LocationKind.STORAGE:
            image = stack.enter_context(_opened_stored(previous, registry))
        else:
            image = stack.enter_context(open_image(locate(previous.reference)[1], registry.platform))
        if image.record.config.diff_ids != previous.record.config.diff_ids:
            raise ImageError(f"{previous.reference} is another image than a moment ago")
        cache = None
        try:
            cache = stack.enter_context(open_cache(CACHE, CACHE_BYTES))
        except RechunkError as error:
            log.debug("nothing is remembered of the layers: %s", error)
        yield Foreign(image, previous.record, foreign_layers(previous.record), copies, cache)


@contextmanager
def _opened_stored(previous: Previous, registry: Registry) -> Iterator[ImageSource]:
    """Open an image in local storage, which is exported when its first layer is read."""
    record = previous.record
    layers = tuple(replace(layer, descriptor=None) for layer in record.layers)
    with work_directory() as folder, ExitStack() as stack:

        def exported() -> ImageSource:
            # podman-py takes longer to import than this whole program
            from rechunk_podman.programs.podman import connect

            with connect() as podman:
                image = podman.resolve(locate(previous.reference)[1].removeprefix("@"), registry.platform)
            export_layout(image.id, "image", cwd=folder, env=local_environment())
            return stack.enter_context(open_image(f"oci:{Path(folder) / 'image'}"))

        names = tuple(str(number) for number in range(len(layers)))
        yield ImageSource(_StorageStore(record.name, exported), replace(record, layers=layers), names)


class _StorageStore:
    """The layers of an image in local storage, by their numbers. A Store, see oci/read/stores.py."""

    def __init__(self, name: str, export: Callable[[], ImageSource]) -> None:
        self.name = name
        self.duplicates: tuple[str, ...] = ()
        self._export = export
        self._image: ImageSource | None = None

    def sizes(self) -> Mapping[str, int]:
        """See Store: unknown before the export."""
        return {}

    def head(self, name: str) -> bytes:
        """See Store."""
        with self.open(name) as file:
            return file.read(8)

    def open(self, name: str) -> BinaryIO:
        """See Store. Export the image if it is not here yet."""
        if self._image is None:
            self._image = self._export()
        return self._image.blob(int(name))

    def close(self) -> None:
        """See Store."""
