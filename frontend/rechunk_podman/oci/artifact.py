"""Artifacts that refer to an image, and the list of them under a tag. Pure.

Sources: image-spec v1.1 manifest.md ("artifactType", "subject", "Guidance for an Empty Descriptor",
"Guidelines for Artifact Usage") and annotations.md; distribution-spec v1.1 ("Pushing Manifests with Subject",
"Referrers Tag Schema").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rechunk_podman.errors import ImageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import parse_object, sha256_of
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.oci.write.documents import dump

REPORT = "application/vnd.rechunk-podman.report.v1"
"""The artifactType of a report about an image."""

MEDIA_EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
TITLE = "org.opencontainers.image.title"
"""The annotation of a layer with the name of its file, which clients give to what they pull."""


class File(NamedTuple):
    """A file of an artifact."""

    name: str
    media_type: str
    data: bytes


class Artifact(NamedTuple):
    """An artifact. blobs: its config and files by their digests."""

    manifest: bytes
    blobs: Mapping[Digest, bytes]

    @property
    def digest(self) -> Digest:
        """The digest of its manifest."""
        return sha256_of(self.manifest)


def artifact_of(
    files: Sequence[File], subject: Descriptor, annotations: Mapping[str, str], artifact_type: str = REPORT
) -> Artifact:
    """Return the artifact that holds files about a subject; the same files give the same bytes.

    Args:
        subject: of the manifest that the artifact refers to.
    """
    blobs = {sha256_of(data): data for data in (EMPTY, *(file.data for file in files))}
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": spec.MEDIA_MANIFEST,
        "artifactType": artifact_type,
        "config": Descriptor(MEDIA_EMPTY, sha256_of(EMPTY), len(EMPTY)).to_json(),
        "layers": [
            Descriptor(file.media_type, sha256_of(file.data), len(file.data), {TITLE: file.name}).to_json()
            for file in files
        ],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return Artifact(dump(document), blobs)


def referrers_tag(subject: Digest) -> str:
    """Return the tag that lists what refers to a manifest, where the registry does not."""
    algorithm, _, encoded = subject.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def with_referrer(index: bytes | None, manifest: bytes, name: str) -> bytes | None:
    """Return a list of referrers with one more; None if it is in the list.

    All else in the list stays as it is.

    Args:
        index: the list; None: there is none yet.
        manifest: of the artifact.
        name: of the list, for messages.

    Raises:
        ImageError: `index` is not an image index.
    """
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": spec.MEDIA_INDEX, "manifests": []}
    if index is not None:
        if sha256_of(manifest) in listed(index, name):
            return None
        document = parse_object(index, name)
    own = parse_object(manifest, "the artifact")
    entry = {
        "mediaType": spec.MEDIA_MANIFEST,
        "digest": sha256_of(manifest),
        "size": len(manifest),
        "artifactType": own["artifactType"],
    }
    if "annotations" in own:
        entry["annotations"] = own["annotations"]
    return dump({**document, "manifests": [*document["manifests"], entry]})


def listed(index: bytes, name: str) -> list[str]:
    """Return the digests in a list of referrers, of any algorithm.

    Raises:
        ImageError: it is not an image index.
    """
    document = parse_object(index, name)
    entries = document.get("manifests")
    if (
        document.get("schemaVersion") != 2
        or document.get("mediaType", spec.MEDIA_INDEX) != spec.MEDIA_INDEX
        or not isinstance(entries, list)
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        raise ImageError(f"{name} is not a list of referrers", hint="is the tag used for something else?")
    return [str(entry.get("digest")) for entry in entries]
