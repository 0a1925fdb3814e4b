"""The layers of the previous image that need not be compressed, written and uploaded again. Pure.

A layer is known by its diff_id; its blob is the one that the previous manifest names, whoever made it.
Sources: image-spec layer.md ("Layer Media Types", "Non-Distributable Layers"), manifest.md; media types of
docker's schema 2; encrypted layers by ocicrypt ("+encrypted"); zstd:chunked by containers/storage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.decompress import GZIP, ZSTD
from rechunk_podman.oci.spec import Descriptor, DiffId

Reuse = Mapping[DiffId, Descriptor | None]
"""diff_id -> the blob's descriptor; None: the uncompressed tar itself is the blob."""

_OCI_TYPES: Mapping[str, str] = MappingProxyType(
    {
        spec.MEDIA_LAYER_GZIP: spec.MEDIA_LAYER_GZIP,
        spec.MEDIA_LAYER_ZSTD: spec.MEDIA_LAYER_ZSTD,
        spec.DOCKER_LAYER_GZIP: spec.MEDIA_LAYER_GZIP,
        spec.DOCKER_LAYER + ".zstd": spec.MEDIA_LAYER_ZSTD,
    }
)
"""Media types of layers that may be reused -> their OCI names. Foreign and encrypted ones are not here."""

_COMPRESSIONS: Mapping[str, str] = MappingProxyType(
    {spec.MEDIA_LAYER_GZIP: GZIP, spec.MEDIA_LAYER_ZSTD: ZSTD}
)

_CHUNKED = "io.github.containers.zstd-chunked."
"""Prefix of annotations of blobs of many zstd frames, which bootc refuses."""


def acceptable(compression: str, *, docker: bool = False) -> frozenset[str]:
    """Return the compressions of blobs that may be in an image beside new ones.

    Args:
        compression: of new layers: none, gzip or zstd. Whoever asks for gzip has clients without zstd; if
            nothing is compressed, nothing is gained, and the image would be a mixture.
        docker: whether the image is for dockerd, which refuses zstd.
    """
    if compression == "none":
        return frozenset()
    return frozenset({GZIP}) if docker or compression == "gzip" else frozenset({GZIP, ZSTD})


def reusable(
    record: ImageRecord, compressions: Collection[str], *, without: Collection[str] = ()
) -> dict[DiffId, Descriptor]:
    """Return the layers of an image whose blobs may be named in the manifest of another one.

    Digest, size and annotations are the previous manifest's; media types of docker get their OCI names.

    Args:
        record: of the previous image; without a manifest it has nothing to reuse.
        compressions: as acceptable() returns them.
        without: digests of blobs that are not to be reused.
    """
    found: dict[DiffId, Descriptor] = {}
    for layer in record.layers:
        old = layer.descriptor
        if old is None or old.digest in without:
            continue
        media_type = _OCI_TYPES.get(old.media_type)
        if media_type is None or _COMPRESSIONS[media_type] not in compressions:
            continue
        if not all(isinstance(text, str) for text in old.annotations.values()):
            continue
        if any(key.startswith(_CHUNKED) for key in old.annotations):
            continue
        found.setdefault(layer.diff_id, Descriptor(media_type, old.digest, old.size, old.annotations))
    return found
