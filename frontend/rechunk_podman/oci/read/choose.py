"""Choice of one image from an index: by name, digest or platform.

Sources: image-spec v1.1 image-index.md ("platform" is optional), annotations.md; containerd's full names, and
the attestations of BuildKit (docs/attestations/attestation-storage.md there), which are no images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rechunk_podman.errors import ImageError, MissingImageError, UsageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import (
    INDEXES,
    MANIFESTS,
    is_artifact,
    parse_index,
    parse_manifest,
    parse_object,
)
from rechunk_podman.oci.read.stores import Store, blob_name, read_document
from rechunk_podman.oci.spec import Descriptor

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation with an image's full name (containerd, docker since 25); ref.name is then only the tag."""
_ATTACHED = "vnd.docker.reference.type"
"""The annotation of a manifest that describes another image, such as an attestation."""

Platform = tuple[str, str, str | None]
"""os, architecture, variant."""
_Entry = tuple[Descriptor, Mapping[str, Any]]


def name_of(descriptor: Descriptor) -> str:
    """Return the name of an image in an index, else its digest."""
    names = descriptor.annotations
    return names.get(CONTAINERD_NAME) or names.get(spec.ANNOTATION_REF_NAME) or descriptor.digest


def familiar(name: str) -> str:
    """Return a name with its tag, without docker's default registry, which not all writers add."""
    for default in ("docker.io/library/", "docker.io/"):
        name = name.removeprefix(default)
    return name if ":" in name.rpartition("/")[2] else name + ":latest"


def choose(store: Store, index: bytes, tag: str | None, platform: str | None) -> Descriptor:
    """Return the descriptor of a manifest, or of an index that holds it.

    Args:
        tag: full name, ref.name or digest; None if there is only one image, or one for the platform.
        platform: [OS/]ARCH[/VARIANT]; None chooses that of this machine among several.

    Raises:
        UsageError: there is no such image, or more than one.
    """
    found = parse_index(index, f"the index of {store.name}")
    images = list({entry[0].digest: entry for entry in _named(found, tag) if may_be_image(entry)}.values())
    wanted = ImageConfig().with_architecture(platform)
    if len(images) > 1 or (images and platform):
        images = _of_platform(store, images, (wanted.os, wanted.architecture, wanted.variant))
        if platform and not images:
            raise MissingImageError(
                f"{store.name} has no image for {wanted.os}/{wanted.architecture}",
                hint="name another with --arch",
            )
    if len(images) == 1:
        return images[0][0]
    there = [entry for entry in found if may_be_image(entry)]
    names = list(dict.fromkeys(name_of(descriptor) for descriptor, _ in there))
    if tag and images:
        message = f"{store.name} holds {len(images)} images {tag}"
    else:
        message = f"{store.name} holds no image {tag}" if tag else f"{store.name} holds {len(there)} images"
    raise UsageError(
        message,
        context=["it holds: " + ", ".join(names[:10])] if names else [],
        hint="name one as PATH:NAME" if names else None,
    )


def _named(entries: list[_Entry], tag: str | None) -> list[_Entry]:
    if tag is None:
        return entries
    full = [
        entry
        for entry in entries
        if (name := entry[0].annotations.get(CONTAINERD_NAME)) and familiar(name) == familiar(tag)
    ]
    return full or [
        entry
        for entry in entries
        if tag in (entry[0].annotations.get(spec.ANNOTATION_REF_NAME), entry[0].digest)
    ]


def may_be_image(entry: tuple[Descriptor, Mapping[str, Any]]) -> bool:
    """Return False for an entry of an index that is an artifact or describes another entry."""
    descriptor, platform = entry
    unknown = platform.get("os") == platform.get("architecture") == "unknown"
    return (
        descriptor.media_type in (*INDEXES, *MANIFESTS)
        and not unknown
        and _ATTACHED not in descriptor.annotations
    )


def _of_platform(store: Store, entries: list[_Entry], wanted: Platform) -> list[_Entry]:
    """Return the entries for a platform, of its variant if possible; look into nested indexes."""
    known = [(entry, _platform_of(store, *entry)) for entry in entries]
    fitting = [(entry, found) for entry, found in known if found and found[:2] == wanted[:2]]
    exact = [entry for entry, (_, _, variant) in fitting if variant == wanted[2]]
    return (
        exact
        or [entry for entry, _ in fitting]
        or [entry for entry in entries if entry[0].media_type in INDEXES]
    )


def _platform_of(store: Store, descriptor: Descriptor, listed: Mapping[str, Any]) -> Platform | None:
    """Return the platform in the index or the config; None if the store has no such image."""
    if listed.get("os") and listed.get("architecture"):
        return str(listed["os"]), str(listed["architecture"]), listed.get("variant") or None
    if descriptor.media_type in INDEXES:
        return None
    try:
        manifest = parse_manifest(
            read_document(store, blob_name(descriptor.digest), descriptor), f"a manifest of {store.name}"
        )
        if is_artifact(manifest):
            return None
        config = parse_object(
            read_document(store, blob_name(manifest.config.digest), manifest.config),
            f"a config of {store.name}",
        )
    except ImageError:
        return None
    return str(config.get("os")), str(config.get("architecture")), config.get("variant") or None
