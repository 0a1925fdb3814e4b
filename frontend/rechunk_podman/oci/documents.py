"""The documents of an image: manifests, indexes, the manifest.json of a docker archive. Pure.

Sources: image-spec v1.1 image-index.md, manifest.md, config.md; `docker save`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rechunk_podman.errors import ImageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.config import HistoryEntry, ImageConfig
from rechunk_podman.oci.read.decompress import GZIP, PLAIN, ZSTD
from rechunk_podman.oci.spec import Descriptor, DiffId, Digest
from rechunk_podman.oci.text import load_json

INDEXES = (spec.MEDIA_INDEX, spec.DOCKER_MANIFEST_LIST)
CONFIGS = (spec.MEDIA_CONFIG, spec.DOCKER_CONFIG)
_LAYER_PREFIXES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
MANIFESTS = (spec.MEDIA_MANIFEST, spec.DOCKER_MANIFEST)
LAYER_COMPRESSION: Mapping[str, str] = {
    spec.MEDIA_LAYER: PLAIN,
    spec.MEDIA_LAYER_GZIP: GZIP,
    spec.MEDIA_LAYER_ZSTD: ZSTD,
    spec.DOCKER_LAYER: PLAIN,
    spec.DOCKER_LAYER_GZIP: GZIP,
    # types of containers/image for uncompressed and zstd layers in a docker manifest
    "application/vnd.docker.image.rootfs.diff.tar.zstd": ZSTD,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar": PLAIN,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": ZSTD,
}
"""Media type of a layer -> its compression."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A layer in the documents.

    descriptor: None if there is no manifest with digests.
    compression: of the blob, if it was looked at; None: its media type is all that is known.
    """

    diff_id: DiffId
    descriptor: Descriptor | None
    history: HistoryEntry | None
    compression: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The documents of an image, with its layers, history and config.

    digest: of the manifest; None without a manifest.
    manifest: the bytes of the manifest, or None.
    annotations: of the manifest, else from the output of `podman inspect`.

    repr() leaves out the documents, which take pages.
    """

    name: str
    config: ImageConfig = field(repr=False)
    layers: tuple[LayerRecord, ...] = field(repr=False)
    digest: Digest | None = None
    manifest: bytes | None = field(default=None, repr=False)
    config_bytes: bytes = field(default=b"", repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)


def image_record(name: str, manifest: bytes | None, config: bytes) -> ImageRecord:
    """Return the record of an image from its documents, as in files or from `skopeo inspect --raw`.

    Args:
        manifest: of one image, OCI or docker schema 2; None if only the config is known.
        config: in any form that ImageConfig.parse() reads. A saved config with layers needs its manifest.

    Raises:
        ImageError: the manifest is an index or of schema 1, or its layers differ from those of the config.
        UsageError: the text is not an image config.
    """
    parsed = ImageConfig.parse(config, name=f"the config of {name}")
    diff_ids = [spec.diff_id(text) for text in parsed.diff_ids]
    descriptors: list[Descriptor | None] = [None] * len(diff_ids)
    annotations = parsed.annotations
    identity = None
    if manifest is not None:
        document = parse_manifest(manifest, f"the manifest of {name}")
        descriptors = list(document.layers)
        annotations = document.annotations
        identity = sha256_of(manifest)
        if len(descriptors) != len(diff_ids):
            raise ImageError(
                f"{name}: the manifest has {len(descriptors)} layers, the config {len(diff_ids)} diff_ids",
                hint="manifest and config belong to different images",
            )
    histories: list[HistoryEntry | None] = [entry for entry in parsed.history if not entry.empty_layer]
    if len(histories) != len(diff_ids):
        histories = [None] * len(diff_ids)
    layers = tuple(map(LayerRecord, diff_ids, descriptors, histories))
    return ImageRecord(name, parsed, layers, identity, manifest, config, annotations)


class Manifest(NamedTuple):
    """A parsed image manifest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    media_type: str
    document: Mapping[str, Any]


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Parse an image manifest (manifest.md; docker's schema 2 has the same fields).

    Raises:
        ImageError: the document is not a manifest, or a field has the wrong type.
    """
    document = parse_object(data, name)
    if document.get("schemaVersion") != 2:
        raise ImageError(
            f"{name} is of schema version {document.get('schemaVersion')!r}, not 2",
            hint="pull and push the image with a current tool",
        )
    if "manifests" in document:
        raise ImageError(f"{name} is an index of several images", hint="name one of them by its digest")
    layers, annotations = document.get("layers"), document.get("annotations") or {}
    if not isinstance(layers, list) or "config" not in document:
        raise ImageError(f"{name} lacks its config or layers")
    check_annotations(annotations, name)
    media_type = document.get("mediaType") or spec.MEDIA_MANIFEST
    return Manifest(
        Descriptor.from_json(document["config"]),
        tuple(Descriptor.from_json(layer) for layer in layers),
        annotations,
        media_type,
        document,
    )


def is_artifact(manifest: Manifest) -> bool:
    """Return True for a manifest of an artifact (manifest.md): an SBOM, a chart, an attestation."""
    if "artifactType" in manifest.document:
        return True
    layers = [layer.media_type.startswith(_LAYER_PREFIXES) for layer in manifest.layers]
    return not any(layers) and (bool(layers) or manifest.config.media_type not in CONFIGS)


def parse_index(data: bytes, name: str) -> list[tuple[Descriptor, Mapping[str, Any]]]:
    """Return the (descriptor, platform) pairs of an image index or manifest list (image-index.md).

    Raises:
        ImageError: the document is not an index, or a field has the wrong type.
    """
    document = parse_object(data, name)
    manifests = document.get("manifests")
    if document.get("schemaVersion") != 2 or not isinstance(manifests, list):
        raise ImageError(f"{name} is not an image index of schema version 2")
    found: list[tuple[Descriptor, Mapping[str, Any]]] = []
    for entry in manifests:
        descriptor = Descriptor.from_json(entry)
        check_annotations(descriptor.annotations, name)
        platform = entry.get("platform") or {}
        if not isinstance(platform, dict):
            raise ImageError(f"{name}: a platform is not an object")
        found.append((descriptor, platform))
    return found


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """Return a JSON object; raise ImageError if the data is not one."""
    document = load_json(data, name, ImageError)
    if not isinstance(document, dict):
        raise ImageError(f"{name} is not a JSON object")
    return document


def check_annotations(annotations: object, name: str) -> None:
    """Raise ImageError if annotations are not a map of strings."""
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise ImageError(f"{name}: its annotations are not a map of strings")


def sha256_of(data: bytes) -> Digest:
    """Return the digest of a document."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def layer_compression(media_type: str, name: str) -> str:
    """Return the compression of a layer; raise ImageError if the media type is not that of a layer."""
    if media_type not in LAYER_COMPRESSION:
        raise ImageError(f"{name} is of the unknown media type {media_type!r}")
    return LAYER_COMPRESSION[media_type]


class DockerImage(NamedTuple):
    """One image in a docker archive's manifest.json: the names of its files, and its own."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def parse_docker_manifest(data: bytes, name: str) -> list[DockerImage]:
    """Parse the manifest.json of a docker archive.

    Raises:
        ImageError: the document has another form.
    """
    document = load_json(data, f"manifest.json of {name}", ImageError)
    found = []
    for entry in document if isinstance(document, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise ImageError(f"manifest.json of {name} is not a list of images with a Config")
        layers, tags = entry.get("Layers") or [], entry.get("RepoTags") or []
        for texts in (layers, tags):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ImageError(f"manifest.json of {name}: Layers and RepoTags are not lists of strings")
        found.append(DockerImage(entry["Config"], tuple(layers), tuple(tags)))
    return found
