"""Measure past releases of an image: from the tags of a repository, local images, layouts and archives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rechunk_podman.errors import MissingImageError, RechunkError, ToolError, UsageError
from rechunk_podman.history.document import MeasuredRelease, history_document
from rechunk_podman.history.release import Contents, read_contents
from rechunk_podman.history.summary import FORMAT, DamagedError, write_summary
from rechunk_podman.images import open_layers
from rechunk_podman.log import note
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.cache import Cache, open_cache
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.reference import DOCKER
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.registry.documents import image_documents
from rechunk_podman.registry.tags import date_of, expression_of, is_attached, list_tags, natural_key

log = logging.getLogger("rechunk_podman")

CACHE, CACHE_BYTES = f"layers-{FORMAT}", 4 << 30
"""The name of the cache of summaries of layers, and the bytes that it may have."""

LAST = 20
"""The number of releases that are read by default."""

MOST_UNDATED = 200
"""The largest number of tags without a date whose images are asked for their time."""

_FIRST_DATE = 631_152_000
"""1990-01-01. An image that was created before it tells no time."""

Progress = Callable[[str, int, int], None]
"""A function that gets a phase, and the bytes that are done and all bytes of it (0 if unknown)."""


def no_progress(phase: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An image of the series. date: epoch seconds."""

    reference: str
    label: str
    date: int
    record: ImageRecord


def measure(
    references: Sequence[str],
    *,
    pattern: str | None = None,
    last: int = LAST,
    registry: Registry = DEFAULT,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Return the history of images as a document of planning/history.py.

    Every layer is read once; of the layers that an earlier run has read, nothing is fetched.

    Args:
        references: repositories (`docker://REPO` without tag), whose tags are the releases, or images.
        pattern: a regular expression for tags; None: tags with a date, or all if none has one.
        last: the number of releases, the newest ones.

    Raises:
        UsageError: a reference or the pattern is malformed, or there are fewer than two images.
        RechunkError: an image cannot be read.
    """
    found = _newest(_images(references, pattern, last, registry, progress), last)
    if len(found) < 2:
        raise UsageError(
            f"a history needs two images, and there {'is' if len(found) == 1 else 'are'} {len(found)}",
            context=[f"{one.reference}" for one in found],
            hint="name more images, or tags with --pattern",
        )
    releases = []
    with open_cache(CACHE, CACHE_BYTES) as cache:
        for number, one in enumerate(found, 1):
            phase = f"{one.label} ({number} of {len(found)})"
            contents = _contents(one, cache, registry, phase, progress)
            blobs = tuple(
                (layer.descriptor.digest, layer.descriptor.size)
                for layer in one.record.layers
                if layer.descriptor is not None
            )
            releases.append(
                MeasuredRelease(
                    one.label,
                    one.record.digest or "",
                    one.date,
                    contents,
                    blobs if len(blobs) == len(one.record.layers) else (),
                )
            )
    return history_document(_series(references), releases)


def measure_image(
    reference: str, registry: Registry = DEFAULT, progress: Progress = no_progress
) -> tuple[ImageRecord, Contents]:
    """Return the documents and the components of one image; layers that were read before are not fetched.

    Raises:
        RechunkError: the image cannot be read.
    """
    record = image_documents(reference, registry)
    with open_cache(CACHE, CACHE_BYTES) as cache:
        return record, _contents(
            _Found(reference, reference, 0, record), cache, registry, reference, progress
        )


def _series(references: Sequence[str]) -> str:
    first = references[0].removeprefix(DOCKER)
    return names.parse(first).repository if references[0].startswith(DOCKER) else first


def _images(
    references: Sequence[str], pattern: str | None, last: int, registry: Registry, progress: Progress
) -> list[_Found]:
    found: list[_Found] = []
    for reference in references:
        parsed = names.parse(reference.removeprefix(DOCKER)) if reference.startswith(DOCKER) else None
        if parsed is None or parsed.tag or parsed.digest:
            record = image_documents(reference, registry)
            found.append(_described(reference, reference.removeprefix(DOCKER), record))
            continue
        tags = _tags(parsed.repository, pattern, last, registry)
        for number, tag in enumerate(tags):
            progress(f"tags of {parsed.repository}", number, len(tags))
            name = f"{DOCKER}{parsed.repository}:{tag}"
            try:
                record = image_documents(name, registry)
            except ToolError:
                raise
            except (MissingImageError, UsageError) as error:
                log.warning("%s is left out: %s", name, error.message)
                continue
            found.append(_described(name, tag, record))
    return found


def _tags(repository: str, pattern: str | None, last: int, registry: Registry) -> list[str]:
    """Return the tags to ask for, the oldest first as far as their names tell."""
    expression = expression_of(pattern or "")
    tags = [t for t in list_tags(repository, registry) if not is_attached(t) and expression.search(t)]
    dated = sorted((dated.key, tag) for tag in tags if (dated := date_of(tag)) is not None)
    if not tags:
        raise UsageError(f"no tag of {repository} matches {pattern}", hint=r"for example --pattern '^41\.'")
    if dated and (pattern is None or len(dated) == len(tags)):
        if len(dated) < len(tags):
            note(log, "%d of %d tags have a date: the others are left out", len(dated), len(tags))
        # some tags name the same image
        return [tag for _, tag in dated[-2 * last :]]
    tags.sort(key=natural_key)
    if len(tags) > MOST_UNDATED:
        note(log, "of %d tags without a date, the last %d by name are read", len(tags), MOST_UNDATED)
    return tags[-MOST_UNDATED:]


def _described(reference: str, label: str, record: ImageRecord) -> _Found:
    created = record.config.created
    dated = date_of(label)
    if created is None or created < _FIRST_DATE:
        if dated is None:
            raise UsageError(
                f"{reference} does not say when it was made",
                hint="name images whose config has a time, or whose tag has a date",
            )
        created = dated.when + dated.counter
    return _Found(reference, label, created, record)


def _newest(found: Sequence[_Found], last: int) -> list[_Found]:
    """Return the newest images, in order of time; of several names of one image the first."""
    by_layers = {tuple(layer.diff_id for layer in one.record.layers): one for one in reversed(found)}
    return sorted(by_layers.values(), key=lambda one: (one.date, one.label))[-last:]


def _contents(one: _Found, cache: Cache, registry: Registry, phase: str, progress: Progress) -> Contents:
    """Return the components of an image; read the layers that the cache lacks, or has damaged files about."""
    removed: set[Path] = set()
    while True:
        _read_layers(one, cache, registry, partial(progress, phase))
        progress(f"{phase}: components", 0, 0)
        try:
            return read_contents(one.label, [cache.path(layer.diff_id) for layer in one.record.layers])
        except DamagedError as error:
            if error.path in removed:
                raise
            log.info("%s: its layer is read again", error.message)
            removed.add(error.path)
            try:
                error.path.unlink(missing_ok=True)
            except OSError:
                raise error from None


def _read_layers(one: _Found, cache: Cache, registry: Registry, progress: Callable[[int, int], None]) -> None:
    """Read the layers that the cache lacks."""
    missing = [number for number, layer in enumerate(one.record.layers) if not cache.has(layer.diff_id)]
    if not missing:
        return
    sizes = {number: _size(one.record, number) for number in missing}
    total, done = sum(sizes.values()), 0
    pinned = one.reference
    if pinned.startswith(DOCKER) and one.record.digest is not None:
        # The tag may move.
        pinned = f"{DOCKER}{names.parse(pinned.removeprefix(DOCKER)).repository}@{one.record.digest}"
    with open_layers(pinned, registry) as image:
        if [layer.diff_id for layer in image.record.layers] != [x.diff_id for x in one.record.layers]:
            raise RechunkError(f"{one.reference} changed while it was read", hint="run the command again")
        for number in missing:
            progress(done, total)
            cache.add(one.record.layers[number].diff_id, partial(_summarise, image, number))
            done += sizes[number]


def _size(record: ImageRecord, number: int) -> int:
    descriptor = record.layers[number].descriptor
    return 0 if descriptor is None else descriptor.size


def _summarise(image: ImageSource, number: int, path: Path) -> None:
    name = f"{image.name}: layer {number + 1}"
    with image.layer(number) as stream:
        write_summary(stream, name, path)
