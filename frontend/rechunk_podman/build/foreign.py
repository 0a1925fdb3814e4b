"""The layers of the previous image that another tool made, opened to be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rechunk_podman.build import image_ledger
from rechunk_podman.build.adopt import Foreign
from rechunk_podman.build.previous import Previous
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.blobs import open_registry_image


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


@contextmanager
def opened_foreign(previous: Previous, registry: Registry) -> Iterator[Foreign]:
    """Open the previous image, which is in a registry or a layout; its layers are fetched when they are read.

    Raises:
        ImageError: the image is damaged. ToolError: skopeo is missing or failed.
    """
    layers = foreign_layers(previous.record)
    if previous.kind is LocationKind.REGISTRY:
        with open_registry_image(previous.reference, registry) as image:
            yield Foreign(image, layers)
    else:
        with open_image(locate(previous.reference)[1], registry.platform) as image:
            yield Foreign(image, layers)
