"""One index over images of several platforms that lie in one repository.

Source: image-spec image-index.md. The index is written by this program; only documents are uploaded with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rechunk_podman.build.previous import Previous
from rechunk_podman.errors import ImageError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import (
    INDEXES,
    MANIFESTS,
    ImageRecord,
    parse_index,
    parse_manifest,
    parse_object,
    sha256_of,
)
from rechunk_podman.oci.read.image import open_store
from rechunk_podman.oci.read.stores import blob_name, read_document
from rechunk_podman.oci.reference import (
    DOCKER,
    OCI,
    LocationKind,
    Pinned,
    Target,
    host_of,
    locate,
    parse_path,
)
from rechunk_podman.oci.sparse import SPARSE_FILE, sparse_document
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.oci.write.documents import LAYOUT_FILE, dump
from rechunk_podman.programs.work import work_directory, write
from rechunk_podman.publish import push
from rechunk_podman.registry.access import Registry, private_credentials
from rechunk_podman.registry.blobs import prepare_mounts
from rechunk_podman.registry.documents import image_documents, top_document

log = logging.getLogger(__name__)

LAYOUT = "index"


@dataclass(frozen=True, slots=True)
class Instance:
    """An image of the index.

    source: its reference, as skopeo takes it.
    digest: the digest of its manifest.
    """

    record: ImageRecord
    source: str
    digest: Digest

    @property
    def platform(self) -> dict[str, str]:
        """The platform, from the config (image-index.md, "platform")."""
        config = self.record.config
        found = {"architecture": config.architecture, "os": config.os, "variant": config.variant}
        return {key: value for key, value in found.items() if value}

    @property
    def platform_name(self) -> str:
        """The platform as os/architecture[/variant]."""
        found = self.platform
        return "/".join(found[key] for key in ("os", "architecture", "variant") if key in found)


def instance(reference: str, registry: Registry) -> Instance:
    """Return an image of one platform in a registry or a layout.

    Raises:
        UsageError: the image is in another kind of location. RechunkError: as image_documents().
    """
    record = image_documents(reference, registry)
    kind, name = locate(reference)
    previous = Previous(record, reference, kind)
    if record.digest is None or record.manifest is None or not previous.has_blobs:
        raise UsageError(
            f"not an image in a registry or an OCI layout: {reference}",
            hint="docker://REPO:TAG, docker://REPO@DIGEST or oci:DIR",
        )
    if parse_manifest(record.manifest, reference).media_type != spec.MEDIA_MANIFEST:
        raise ImageError(
            f"{reference} is not of OCI's format", hint="split --push, or build, write images that are"
        )
    if kind is LocationKind.REGISTRY:
        repository = names.parse(reference.removeprefix(DOCKER)).repository
        name = str(Pinned(repository, record.digest))
    return Instance(record, name, record.digest)


def instances(reference: str, registry: Registry) -> list[Instance]:
    """Return the image that a reference names, or all images of an index in a registry.

    Other entries of an index (attestations, of the platform unknown) are left out with a warning.

    Raises:
        UsageError: a wrong location, or a layout of several images. RechunkError: as image_documents().
    """
    kind, name = locate(reference)
    if kind is not LocationKind.REGISTRY:
        if kind is LocationKind.IMAGE:
            _require_single(reference, name)
        return [instance(reference, registry)]
    data = top_document(reference, registry)
    document = parse_object(data, f"the manifest of {reference}")
    if document.get("mediaType") not in INDEXES and "manifests" not in document:
        return [instance(reference, registry)]
    repository = names.parse(name).repository
    found = []
    for descriptor, platform in parse_index(data, f"the index of {reference}"):
        member = str(Pinned(repository, descriptor.digest))
        if platform.get("os") == "unknown" or descriptor.media_type not in MANIFESTS:
            log.warning("left out of %s: %s is no image of a platform", reference, descriptor.digest)
        else:
            found.append(instance(member, registry))
    if not found:
        raise UsageError(f"the index {reference} holds no image")
    return found


def _require_single(reference: str, name: str) -> None:
    """Raise UsageError for a layout of several images, of which skopeo could take any."""
    parsed = parse_path(name)
    if parsed.tag is not None or not Path(parsed.path).exists():
        return
    transport, store = open_store(parsed)
    try:
        entries = parse_index(read_document(store, "index.json"), reference) if transport == OCI else []
        if len(entries) == 1 and entries[0][0].media_type in INDEXES:
            inner = entries[0][0]
            entries = parse_index(read_document(store, blob_name(inner.digest), inner), reference)
    finally:
        store.close()
    if len(entries) > 1:
        raise UsageError(
            f"{reference} holds {len(entries)} images",
            context=[descriptor.digest for descriptor, _ in entries],
            hint="name one as oci:DIR:NAME, or push them (skopeo copy --all) and name that index",
        )


def index_of(instances: Sequence[Instance]) -> bytes:
    """Return the image index over these images, in their order.

    Raises:
        UsageError: two of them are for one platform.
    """
    seen: dict[str, Instance] = {}
    manifests: list[dict[str, Any]] = []
    for found in instances:
        other = seen.setdefault(found.platform_name, found)
        if other is not found:
            raise UsageError(
                f"two images for {found.platform_name}",
                context=[other.source, found.source],
                hint="an index holds one image for each platform",
            )
        size = len(found.record.manifest or b"")
        descriptor = Descriptor(spec.MEDIA_MANIFEST, found.digest, size).to_json()
        manifests.append({**descriptor, "platform": found.platform})
    return dump({"schemaVersion": 2, "mediaType": spec.MEDIA_INDEX, "manifests": manifests})


def publish_index(
    instances: Sequence[Instance],
    targets: Sequence[Target],
    registry: Registry,
    *,
    workdir: str | None = None,
    tick: Callable[[], None] | None = None,
) -> Digest:
    """Push the images that the first target's repository lacks, then their index.

    Raises:
        UsageError: as index_of(). ToolError: skopeo is missing or failed; the registry denied it.
    """
    data = index_of(instances)
    digest = sha256_of(data)
    repository = targets[0].repository
    with (
        work_directory(workdir) as work,
        private_credentials(registry, repository) as private,
    ):
        for found in instances:
            place = Pinned(repository, found.digest)
            if found.source != str(place):
                _prepare_mounts(found, repository, private)
                push.copy(found.source, place, found.digest, private, tick=tick)
        write_layout(Path(work) / LAYOUT, instances, data, f"{DOCKER}{repository}@{digest}")
        push.push(LAYOUT, targets, digest, private, cwd=work, whole_index=True, tick=tick)
    return digest


def _prepare_mounts(found: Instance, repository: str, registry: Registry) -> None:
    """Let the layers of an image be mounted if it is in another repository of the same registry."""
    if not found.source.startswith(DOCKER):
        return
    source = names.parse(found.source.removeprefix(DOCKER)).repository
    if host_of(source) == host_of(repository):
        layers = [layer.descriptor.digest for layer in found.record.layers if layer.descriptor is not None]
        prepare_mounts(found.source, layers, registry)


def write_layout(path: Path, instances: Sequence[Instance], index: bytes, origin: str) -> None:
    """Write a layout with only the documents of an index; the image `origin` has the layers."""
    (path / "blobs" / "sha256").mkdir(parents=True)
    elsewhere: set[Digest] = set()
    documents = [index]
    for found in instances:
        manifest = found.record.manifest or b""
        documents += [manifest, found.record.config_bytes]
        elsewhere |= {layer.digest for layer in parse_manifest(manifest, found.source).layers}
    for data in documents:
        write(str(path / blob_name(sha256_of(data))), data)
    top = Descriptor(spec.MEDIA_INDEX, sha256_of(index), len(index)).to_json()
    write(str(path / "oci-layout"), LAYOUT_FILE)
    write(str(path / SPARSE_FILE), sparse_document(elsewhere, origin))
    write(
        str(path / "index.json"),
        dump({"schemaVersion": 2, "mediaType": spec.MEDIA_INDEX, "manifests": [top]}),
    )
