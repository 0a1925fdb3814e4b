"""The small types of the OCI image specification v1.1: digests, descriptors, media types.

Sources: image-spec descriptor.md ("Digests"), manifest.md, config.md ("Layer DiffID"), layer.md,
media-types.md; annotations by annotations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NewType

from rechunk_podman.errors import ImageError
from rechunk_podman.patterns import compile_later

Digest = NewType("Digest", str)
"""`sha256:…` of a blob as it is stored and transferred."""

DiffId = NewType("DiffId", str)
"""`sha256:…` of a layer's uncompressed tar."""

MEDIA_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar"
MEDIA_LAYER_GZIP = MEDIA_LAYER + "+gzip"
MEDIA_LAYER_ZSTD = MEDIA_LAYER + "+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

DOCKER_TYPES: Mapping[str, str] = MappingProxyType(
    {
        MEDIA_MANIFEST: DOCKER_MANIFEST,
        MEDIA_CONFIG: DOCKER_CONFIG,
        MEDIA_LAYER: DOCKER_LAYER,
        MEDIA_LAYER_GZIP: DOCKER_LAYER_GZIP,
    }
)
"""Media types of an image of OCI's format -> those of docker's, which has none for zstd."""

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_COMPONENT = "org.rechunk.component"
ANNOTATION_STABILITY = "org.rechunk.stability"
CHUNKAH_COMPONENT = "org.chunkah.component"
CHUNKAH_STABILITY = "org.chunkah.stability"

_DIGEST = compile_later(r"sha256:[0-9a-f]{64}\Z")


def digest(text: str) -> Digest:
    """Return `text` as a Digest.

    Raises:
        ImageError: the text is not `sha256:` and 64 lower-case hex digits.
    """
    if not (isinstance(text, str) and _DIGEST.match(text)):
        raise ImageError(f"not a sha256 digest: {text!r}")
    return Digest(text)


def diff_id(text: str) -> DiffId:
    """Return `text` as a DiffId; raise ImageError as digest() does."""
    return DiffId(digest(text))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to a blob (descriptor.md). size: bytes as stored."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of descriptor.md; annotations are left out if there are none."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        return document

    @classmethod
    def from_json(cls, document: Any) -> Descriptor:
        """Parse a descriptor.

        Raises:
            ImageError: a field is missing or has the wrong type, or the size is negative.
        """
        if not isinstance(document, dict):
            raise ImageError("a descriptor is not an object")
        media_type, size = document.get("mediaType"), document.get("size")
        annotations = document.get("annotations") or {}
        if not isinstance(media_type, str) or not isinstance(size, int) or size < 0:
            raise ImageError("a descriptor lacks its mediaType or size", context=[repr(document)])
        if not isinstance(annotations, dict):
            raise ImageError("a descriptor's annotations are not an object")
        return cls(media_type, digest(document.get("digest", "")), size, annotations)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was written: its diff_id, the descriptor of its blob, and the size of its tar in bytes."""

    diff_id: DiffId
    descriptor: Descriptor
    uncompressed_size: int

    @classmethod
    def plain(cls, sha256: str, size: int) -> Layer:
        """Return a layer whose blob is its uncompressed tar with this digest (`sha256:…`) and size."""
        return cls(DiffId(sha256), Descriptor(MEDIA_LAYER, Digest(sha256), size), size)
