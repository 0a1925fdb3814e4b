"""Reports that `--attach` adds to images in registries: their files, and what becomes of a failure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rechunk_podman.cli.console import json_text, write_line
from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.log import NOTE
from rechunk_podman.oci.reference import DOCKER, Pinned, Target, parse

if TYPE_CHECKING:
    from rechunk_podman.explain.download import Update
    from rechunk_podman.explain.inspect import ImageFacts
    from rechunk_podman.oci.artifact import File
    from rechunk_podman.oci.documents import ImageRecord
    from rechunk_podman.registry.access import Registry

log = logging.getLogger("rechunk_podman")

PREVIOUS = "org.rechunk.previous"
"""The annotation of a report with the digest of the image that the update starts from."""


def require_in_registry(reference: str) -> None:
    """Raise UsageError if an image is not in a registry, so that nothing can be attached to it."""
    if not reference.startswith(DOCKER):
        raise UsageError(
            f"--attach is for images in registries, not for {reference}", hint="docker://REPO:TAG"
        )


def update_files(update: Update, metadata: Sequence[tuple[int, str, str]] | None = None) -> list[File]:
    """Return the files of a report about an update: what `diff --json`, `diff --html` and `changelog` write.

    Args:
        metadata: as update_page() takes it.
    """
    from rechunk_podman.changelog.render import Tags, read_template, render_template, without_controls
    from rechunk_podman.changelog.run import of_facts
    from rechunk_podman.cli.commands.changelog import TEMPLATE
    from rechunk_podman.explain.documents import update_document
    from rechunk_podman.explain.report.page import render
    from rechunk_podman.explain.report.update_page import update_page
    from rechunk_podman.oci.artifact import File
    from rechunk_podman.split.containerfile import templates
    from rechunk_podman.units import human_size

    tags = Tags(of_facts(update.old, update.new), update.new.record.config.created or 0)
    source = read_template(templates() / TEMPLATE)
    changes = without_controls(render_template(source, tags, human_size=human_size, name=TEMPLATE))
    page = render(update_page(update, metadata), templates())
    return [
        File("diff.json", "application/json", json_text(update_document(update)).encode()),
        File("diff.html", "text/html", page.encode()),
        File("changelog.md", "text/markdown", changes.encode()),
    ]


def image_files(facts: ImageFacts) -> list[File]:
    """Return the files of a report about an image without a previous one: as `inspect --json` writes it."""
    from rechunk_podman.explain.documents import image_document
    from rechunk_podman.oci.artifact import File

    return [File("inspect.json", "application/json", json_text(image_document(facts)).encode())]


def attach_update(
    update: Update, metadata: Sequence[tuple[int, str, str]] | None, registry: Registry
) -> None:
    """Attach a report to the new image of an update, which is in a registry.

    Args:
        metadata: as update_page() takes it.

    Raises:
        RechunkError: as publish.attach.attach().
    """
    if update.old.record.digest == update.new.record.digest:
        log.log(NOTE, "nothing is attached: both are one image")
        return
    old, new = (replace(facts, record=_pinned(facts.record)) for facts in (update.old, update.new))
    files = update_files(replace(update, old=old, new=new), metadata)
    repository = parse(new.name.removeprefix(DOCKER)).repository
    _say(_attach(files, new.record, old.record, repository, registry), new.name)


def _pinned(record: ImageRecord) -> ImageRecord:
    """Return the documents of an image with its digest as the name, if it is in a registry."""
    if not record.name.startswith(DOCKER) or record.digest is None:
        return record
    repository = parse(record.name.removeprefix(DOCKER)).repository
    return replace(record, name=str(Pinned(repository, record.digest)))


def _attach(
    files: Sequence[File], new: ImageRecord, old: ImageRecord | None, repository: str, registry: Registry
) -> Pinned:
    """Attach files to an image in a repository; return the reference of the artifact."""
    from rechunk_podman.oci.artifact import artifact_of
    from rechunk_podman.oci.documents import parse_manifest
    from rechunk_podman.oci.spec import Descriptor
    from rechunk_podman.oci.text import format_time
    from rechunk_podman.publish.attach import attach

    assert new.manifest is not None  # noqa: S101 (images in registries have one)
    assert new.digest is not None  # noqa: S101
    media_type = parse_manifest(new.manifest, new.name).media_type
    annotations = {}
    if new.config.created is not None:
        annotations["org.opencontainers.image.created"] = format_time(new.config.created)
    if old is not None and old.digest is not None:
        annotations[PREVIOUS] = old.digest
    subject = Descriptor(media_type, new.digest, len(new.manifest))
    return attach(artifact_of(files, subject, annotations), Pinned(repository, new.digest), registry)


def _say(report: Pinned, image: str) -> None:
    write_line(f"attached to {image}: {report.digest}", error=True)


def attach_to_pushed(
    images: Iterable[tuple[ImageRecord, ImageRecord | None]], repositories: Sequence[str], registry: Registry
) -> list[Pinned]:
    """Attach a report to each image that was pushed, in each repository; return the artifacts.

    A failure is a warning: the images are pushed, and what follows, like signing them, must go on.

    Args:
        images: (the image, the one before it).
    """
    from rechunk_podman.explain.download import compare
    from rechunk_podman.explain.inspect import describe

    attached = []
    for new, old in images:
        digest = new.digest
        if digest is None or (old is not None and old.digest == digest):
            log.log(NOTE, "no report is attached: %s is the image before it, too", digest)
            continue
        for repository in dict.fromkeys(repositories):
            place = Pinned(repository, digest)
            now = describe(replace(new, name=str(place)))
            files = image_files(now) if old is None else update_files(compare(describe(old), now))
            try:
                report = _attach(files, new, old, repository, registry)
            except RechunkError as error:
                text = "; ".join((error.message, *error.context[:1]))
                log.warning("%s is pushed, but no report is attached to it: %s", place, text)
                if old is not None:
                    log.warning("to attach it later: rechunk-podman diff %s %s --attach", old.name, place)
            else:
                _say(report, str(place))
                attached.append(report)
    return attached


def updates_of(image: str, tag: str, registry: Registry) -> list[tuple[ImageRecord, ImageRecord | None]]:
    """Return an image, or those of an index, each with the image of its platform that a tag names now.

    Args:
        image: `docker://REPO@DIGEST`.
        tag: of the same repository.

    Raises:
        UsageError: `image` is not named by its digest. RechunkError: as image_documents().
    """
    from rechunk_podman.oci.documents import INDEXES, parse_index, parse_object
    from rechunk_podman.oci.read.choose import may_be_image
    from rechunk_podman.publish.index import Instance
    from rechunk_podman.registry.documents import image_documents, top_document

    source = Pinned.parse(image)
    data = top_document(image, registry)
    members = [source.digest]
    if parse_object(data, image).get("mediaType") in INDEXES:
        members = [entry[0].digest for entry in parse_index(data, image) if may_be_image(entry)]
    found = []
    for digest in members:
        new = image_documents(str(Pinned(source.repository, digest)), registry)
        platform = Instance(new, "", digest).platform_name
        found.append((new, _named_now(Target(source.repository, tag), replace(registry, platform=platform))))
    return found


def _named_now(target: Target, registry: Registry) -> ImageRecord | None:
    """Return the image that a tag names; None if it names none."""
    from rechunk_podman.registry.documents import image_documents

    try:
        return _pinned(image_documents(str(target), registry))
    except ToolError:
        raise
    except RechunkError as error:
        log.info("%s names no image: %s", target, error.message)
        return None
