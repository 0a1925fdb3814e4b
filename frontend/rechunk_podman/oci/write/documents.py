"""The documents of an image (config, manifest, index), made from its layers; the protocol of a destination.

Sources: image-spec manifest.md, image-index.md, image-layout.md ("index.json file").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol

from rechunk_podman.oci.spec import (
    ANNOTATION_REF_NAME,
    DOCKER_TYPES,
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    Layer,
)
from rechunk_podman.oci.write.layers import BlobFile
from rechunk_podman.oci.write.output import Format

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True)
class ImageDocuments:
    """The documents that depend on the layers.

    config: the blob.
    annotations: of the manifest.
    format: of the manifest.
    """

    config: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)
    format: Format = Format.OCI


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """An image that was written: its layers, the bytes of its documents and their descriptors.

    tag: the full reference in the image (`org.opencontainers.image.ref.name`, RepoTags), or None.
    elsewhere: the blobs that were not written, because the image's destination has them.
    origin: the reference of the image with these blobs.
    """

    layers: tuple[Layer, ...] = field(repr=False)
    config: bytes = field(repr=False)
    config_descriptor: Descriptor
    manifest: bytes = field(repr=False)
    manifest_descriptor: Descriptor
    index: bytes = field(repr=False)
    tag: str | None
    elsewhere: tuple[Digest, ...] = ()
    origin: str | None = None


class Destination(Protocol):
    """An output for one image; a context manager that removes everything without commit()."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def blob_file(self, index: int, size: int) -> BlobFile:
        """Return the file for the blob of layer `index`, whose tar has `size` bytes."""

    def complete(self, index: int, layer: Layer) -> None:
        """Accept layer `index`, whose blob is written and matches its descriptor."""

    def commit(self, image: WrittenImage) -> None:
        """Add the documents after all layers are complete, and make the image appear."""


def sha256(data: bytes) -> Digest:
    """Return the digest of a blob."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def dump(document: Any) -> bytes:
    """Return JSON without white space; keys keep their order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def assemble(documents: ImageDocuments, layers: Sequence[Layer], tag: str | None) -> WrittenImage:
    """Return an image of these layers and this config, with its manifest and an index of one image."""
    is_docker = documents.format is Format.DOCKER
    types = DOCKER_TYPES if is_docker else {}
    config = _typed(Descriptor(MEDIA_CONFIG, sha256(documents.config), len(documents.config)), types)
    if is_docker:
        layers = [replace(layer, descriptor=_typed(layer.descriptor, types)) for layer in layers]
    media_type = types.get(MEDIA_MANIFEST, MEDIA_MANIFEST)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.to_json(),
        "layers": [layer.descriptor.to_json() for layer in layers],
    }
    if documents.annotations and not is_docker:
        manifest["annotations"] = dict(sorted(documents.annotations.items()))
    data = dump(manifest)
    named = {ANNOTATION_REF_NAME: tag} if tag else {}
    index = {
        "schemaVersion": 2,
        "mediaType": MEDIA_INDEX,
        "manifests": [Descriptor(media_type, sha256(data), len(data), named).to_json()],
    }
    return WrittenImage(
        layers=tuple(layers),
        config=documents.config,
        config_descriptor=config,
        manifest=data,
        manifest_descriptor=Descriptor(media_type, sha256(data), len(data)),
        index=dump(index),
        tag=tag,
    )


def _typed(descriptor: Descriptor, types: Mapping[str, str]) -> Descriptor:
    """Return a descriptor of OCI's format as another format has it, without annotations."""
    media_type = types.get(descriptor.media_type, descriptor.media_type)
    return Descriptor(media_type, descriptor.digest, descriptor.size)
