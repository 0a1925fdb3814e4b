"""Reuse of layers of the previous image, which are not compressed, written and uploaded again. Pure.

A layer is identified by its diff_id; its blob is the one in the previous manifest, whichever tool made it.
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
"""diff_id -> the descriptor of the blob, or None if the blob is the uncompressed tar."""

_OCI_TYPES: Mapping[str, str] = MappingProxyType(
    {
        spec.MEDIA_LAYER_GZIP: spec.MEDIA_LAYER_GZIP,
        spec.MEDIA_LAYER_ZSTD: spec.MEDIA_LAYER_ZSTD,
        spec.DOCKER_LAYER_GZIP: spec.MEDIA_LAYER_GZIP,
        spec.DOCKER_LAYER + ".zstd": spec.MEDIA_LAYER_ZSTD,
    }
)
"""Media types of layers that may be reused -> their OCI names; without foreign and encrypted layers."""

_COMPRESSIONS: Mapping[str, str] = MappingProxyType(
    {spec.MEDIA_LAYER_GZIP: GZIP, spec.MEDIA_LAYER_ZSTD: ZSTD}
)

_CHUNKED = "io.github.containers.zstd-chunked."
"""Prefix of the annotations of blobs with many zstd frames, which bootc refuses."""


def acceptable(compression: str, *, docker: bool = False) -> frozenset[str]:
    """Return the compressions that reused blobs may have beside new blobs.

    Args:
        compression: of new layers: none, gzip or zstd. Users of gzip have clients without zstd. An
            uncompressed image takes no compressed blobs: it would gain nothing and be a mixture.
        docker: True if the image is for dockerd, which refuses zstd.
    """
    if compression == "none":
        return frozenset()
    return frozenset({GZIP}) if docker or compression == "gzip" else frozenset({GZIP, ZSTD})


def reusable(
    record: ImageRecord, compressions: Collection[str], *, without: Collection[str] = ()
) -> dict[DiffId, Descriptor]:
    """Return the layers of an image whose blobs another manifest may name.

    Digest, size and annotations are those of the previous manifest; docker media types become OCI ones.

    Args:
        record: of the previous image; without a manifest there is nothing to reuse.
        compressions: as acceptable() returns them.
        without: digests of blobs that must not be reused.
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
