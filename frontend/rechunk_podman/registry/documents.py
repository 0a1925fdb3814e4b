"""Documents of images by reference, in every kind of location. No layer is fetched or unpacked.

Sources: skopeo-inspect(1); image-spec image-index.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rechunk_podman.errors import ImageError, MissingImageError, RechunkError, ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import (
    INDEXES,
    MANIFESTS,
    ImageRecord,
    LayerRecord,
    image_record,
    is_artifact,
    parse_index,
    parse_manifest,
    parse_object,
    sha256_of,
)
from rechunk_podman.oci.platform import HINT, fitting, platform_name, platform_of, require_platform
from rechunk_podman.oci.read.choose import may_be_image
from rechunk_podman.oci.read.image import MAX_DEPTH, ImageSource, open_image
from rechunk_podman.oci.read.stores import MAX_DOCUMENT
from rechunk_podman.oci.reference import DOCKER, MISSING_HINT, LocationKind, locate, parse_path
from rechunk_podman.oci.spec import Descriptor
from rechunk_podman.programs.process import which
from rechunk_podman.registry.access import DEFAULT, Registry, ask_skopeo
from rechunk_podman.registry.answers import DeniedError, UnreachableError

log = logging.getLogger(__name__)

AUTO = "auto"
"""The previous image of a push: the image that its tag names now, else the newest other tag's image."""


def _locate_image(text: str) -> tuple[LocationKind, str]:
    """Like locate(), for an image: a name in storage may also be the name of a directory here."""
    kind, name = locate(text)
    if kind is not LocationKind.DIRECTORY:
        return kind, name
    if name.startswith(("/", "./", "../")) or name.endswith("/"):
        raise UsageError(f"a directory, and no OCI layout: {name}", hint="name an image")
    return LocationKind.STORAGE, name


def image_documents(reference: str, registry: Registry = DEFAULT) -> ImageRecord:
    """Return the documents of the image that `reference` names (oci/reference.py).

    Raises:
        MissingImageError: there is no such image.
        DeniedError, UnreachableError: the registry denied access, or did not answer.
        UsageError: the reference is malformed, or names no image.
        ImageError: the image is damaged. ToolError: a tool is missing or failed.
    """
    kind, name = _locate_image(reference)
    if kind is LocationKind.REGISTRY:
        return _from_registry(reference, name, registry)
    if kind is LocationKind.STORAGE:
        return _from_storage(reference, name, registry.platform)
    try:
        if kind is LocationKind.DOCUMENT:
            record = image_record(reference, None, _read(Path(name)))
            require_platform(reference, record.config, registry.platform)
            return record
        if not Path(parse_path(name).path).exists():
            raise MissingImageError(f"no such file or directory: {parse_path(name).path}", hint=MISSING_HINT)
        with open_image(name, registry.platform) as image:
            return replace(image.record, name=reference, layers=tuple(_with_compressions(image)))
    except OSError as error:
        raise ImageError(f"cannot read {reference}", context=[str(error)]) from error


def _with_compressions(image: ImageSource) -> Iterator[LayerRecord]:
    """Yield the layers with the compression of their blobs, by content, if there is a blob."""
    for number, layer in enumerate(image.record.layers):
        try:
            yield replace(layer, compression=image.compression(number))
        except ImageError:
            yield layer


def previous_documents(reference: str, registry: Registry = DEFAULT) -> ImageRecord | None:
    """Return the documents of the image before this one; None, with a warning, if it is missing or damaged.

    None means a plan without memory. A registry that cannot be reached is an error, because the memory that
    it holds would be lost for every later image.

    Raises:
        UsageError: the reference is malformed. UnreachableError: the registry did not answer.
        ToolError: a tool is missing or failed.
    """
    malformed = _malformed(reference)
    if malformed is not None:
        raise malformed
    try:
        return image_documents(reference, registry)
    except UnreachableError as error:
        raise UnreachableError(
            error.message,
            context=error.context,
            hint=f"{error.hint}; --fresh plans without the previous image",
        ) from error
    except DeniedError as error:
        problem: RechunkError = error
    except ToolError:
        raise
    except RechunkError as error:
        problem = error
    log.warning("no previous image: %s", "; ".join((problem.message, *problem.context[:1])))
    log.warning("the layers are planned without memory: this update downloads more than usual")
    return None


def _malformed(reference: str) -> UsageError | None:
    """Return the error of a text that can never be a reference, else None."""
    try:
        kind, name = _locate_image(reference)
        if kind in (LocationKind.REGISTRY, LocationKind.STORAGE):
            names.parse(name.removeprefix("@"))
        if kind is LocationKind.IMAGE and not parse_path(name).path:
            return UsageError(
                f"no path: {reference}", hint="oci:DIR, oci-archive:FILE or docker-archive:FILE"
            )
    except MissingImageError:
        return None
    except UsageError as error:
        return error
    if reference == AUTO:
        return UsageError("--previous auto goes with split --push", hint="name an image")
    return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise ImageError(f"{path} is larger than {MAX_DOCUMENT} bytes", hint="no image config is")
    return data


def _from_storage(reference: str, name: str, platform: str | None) -> ImageRecord:
    identity = name.removeprefix("@")
    names.parse(identity)
    if which("podman") is None:
        raise ToolError(
            f"podman, in whose storage {reference} would be, is not installed",
            hint="install it, or name an image elsewhere: docker://NAME, oci:DIR, or a file with its config",
        )
    # podman-py and its dependencies take longer to import than this whole program
    from rechunk_podman.programs import podman

    with podman.connect() as service:
        try:
            image = service.resolve(identity, platform)
        except MissingImageError:
            raise
        except UsageError as error:
            raise MissingImageError(error.message, context=error.context, hint=error.hint) from error
    return image_record(reference, image.manifest, image.config)


def _from_registry(reference: str, name: str, registry: Registry) -> ImageRecord:
    parsed = names.parse(name)

    def ask(name: str, *options: str) -> bytes:
        return _ask(name, parsed.repository, registry, reference, *options)

    def described(image: Descriptor) -> Mapping[str, Any]:
        """Return the platform in an image's config, in the form of an index; nothing for an artifact."""
        place = f"{parsed.repository}@{image.digest}"
        if image.media_type not in MANIFESTS or is_artifact(parse_manifest(ask(place), place)):
            return {}
        return platform_of(image_record(place, None, ask(place, "--config")).config)

    manifest = ask(name)
    if parsed.digest:
        _check(manifest, parsed.digest, f"the manifest of {reference}")
    chosen = None
    for _ in range(MAX_DEPTH):
        document = parse_object(manifest, f"the manifest of {reference}")
        if document.get("mediaType") not in INDEXES and "manifests" not in document:
            break
        chosen = choose_platform(manifest, reference, registry.platform, described)
        manifest = ask(f"{parsed.repository}@{chosen}")
        _check(manifest, chosen, f"the manifest of {reference}")
    parts = parse_manifest(manifest, f"the manifest of {reference}")
    config_blob = parts.config
    if is_artifact(parts):
        raise UsageError(
            f"{reference} names an artifact, and no image",
            context=[f"its config is of the type {config_blob.media_type!r}"],
        )
    # By digest: the tag may move between two questions.
    config = ask(f"{parsed.repository}@{sha256_of(manifest)}", "--config")
    _check(config, config_blob.digest, f"the config of {reference}")
    record = image_record(reference, manifest, config)
    if chosen is None:  # for an image from an index, the index decides, as it does for clients
        require_platform(reference, record.config, registry.platform)
    return record


def top_document(reference: str, registry: Registry = DEFAULT) -> bytes:
    """Return the document that a reference into a registry names, verbatim: a manifest or an index.

    Raises:
        RechunkError: as image_documents().
    """
    parsed = names.parse(reference.removeprefix(DOCKER))
    data = _ask(str(parsed), parsed.repository, registry, reference)
    if parsed.digest:
        _check(data, parsed.digest, f"the manifest of {reference}")
    return data


def _ask(name: str, repository: str, registry: Registry, reference: str, *options: str) -> bytes:
    return ask_skopeo(["inspect", *options, "--raw"], name, repository, registry, reference=reference)


def _check(data: bytes, digest: str, name: str) -> None:
    if sha256_of(data) != digest:
        raise ImageError(
            f"{name} is not the one that was asked for",
            context=[f"it is {sha256_of(data)}, not {digest}"],
            hint="the registry is broken, or somebody in between changes what it says",
        )


def choose_platform(
    index: bytes,
    name: str,
    platform: str | None = None,
    describe: Callable[[Descriptor], Mapping[str, Any]] = lambda _: {},
) -> str:
    """Return the digest of the image for a platform, from an image index (image-index.md, "platform").

    Args:
        platform: [OS/]ARCH[/VARIANT]; None: that of this machine.
        describe: returns the platform of an image whose entry has none (it is optional). It is called
            only if no other image fits.

    Raises:
        ImageError: the data is not an index. MissingImageError: it holds no image for the platform.
    """
    found = parse_index(index, f"the index of {name}")
    chosen = fitting(found, platform)
    if not chosen:
        found = [
            (entry[0], describe(entry[0]) if may_be_image(entry) and not entry[1] else entry[1])
            for entry in found
        ]
        chosen = fitting(found, platform)
    if chosen:
        return chosen[0].digest
    wanted = platform_name(ImageConfig().with_architecture(platform))
    there = sorted({f"{entry.get('os')}/{entry.get('architecture')}" for _, entry in found if entry})
    raise MissingImageError(
        f"{name} has no image for {wanted}",
        context=[f"it has: {', '.join(there[:12])}"] if there else [],
        hint=HINT,
    )
