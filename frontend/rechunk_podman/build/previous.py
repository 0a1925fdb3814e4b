"""The image before this one as a source of blobs: resolved once to a digest, trusted or verified.

Reuse is trust: old clients accept a blob that does not match its diff_id, and a wrong one would travel into
every later, signed image. So blobs are fetched and hashed before their names go into a new manifest, unless
the user named the image by its digest, or pushed that very image (engine/state.py).
"""

from __future__ import annotations

import errno
import io
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rechunk_podman.errors import RechunkError, ToolError
from rechunk_podman.log import note
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.documents import ImageRecord, layer_compression
from rechunk_podman.oci.read.image import OCI, HashingReader, blob_name, decompressor, parse_reference
from rechunk_podman.oci.read.stores import DirectoryStore
from rechunk_podman.oci.reuse import reusable
from rechunk_podman.oci.spec import DiffId, Digest, Layer
from rechunk_podman.oci.write.documents import WrittenImage
from rechunk_podman.oci.write.output import Output
from rechunk_podman.programs.imageproxy import BlobError, ImageProxy, proxy
from rechunk_podman.registry import retry as answers
from rechunk_podman.registry.documents import (
    DEFAULT,
    DOCKER,
    Place,
    Registry,
    locate,
    options_of,
    previous_documents,
)
from rechunk_podman.registry.state import State

if TYPE_CHECKING:
    from rechunk_podman.build import pipeline

log = logging.getLogger(__name__)

Opener = Callable[[Layer], Any]
"""Layer -> a context manager of its blob as a stream."""


@dataclass(frozen=True, slots=True)
class Previous:
    """The image before.

    reference: with its digest, where it is in a registry. trusted: whether its user vouches for its blobs.
    place: where it is; blobs are reused from registries and OCI layouts.
    """

    record: ImageRecord
    reference: str
    place: Place
    trusted: bool = False

    @property
    def has_blobs(self) -> bool:
        """Whether its blobs are the final ones, and can be named in another image."""
        layout = self.place is Place.IMAGE and locate(self.reference)[1].startswith(f"{OCI}:")
        return self.record.manifest is not None and (self.place is Place.REGISTRY or layout)

    @property
    def repository(self) -> str | None:
        """Its repository, where it is in a registry."""
        if self.place is not Place.REGISTRY:
            return None
        return names.parse(self.reference.removeprefix(DOCKER)).repository


def resolve(reference: str, registry: Registry = DEFAULT, state: State | None = None) -> Previous | None:
    """The previous image, or None (with a warning) where it is not there or not usable.

    In a registry it is found by its digest from here on, whatever becomes of its tag; a note says which.

    Raises:
        RechunkError: as previous_documents().
    """
    record = previous_documents(reference, registry)
    return None if record is None else found(reference, record, state)


def found(reference: str, record: ImageRecord, state: State | None = None) -> Previous:
    """The Previous that a reference and its documents make; the note says which it is."""
    place = locate(reference)[0]
    if place is Place.DOCUMENT:
        return Previous(record, reference, place)
    if place is not Place.REGISTRY or record.digest is None:
        note(log, "previous image: %s%s", reference, f" ({record.digest})" if record.digest else "")
        return Previous(record, reference, place)
    parsed = names.parse(reference.removeprefix(DOCKER))
    pinned = f"{DOCKER}{parsed.repository}@{record.digest}"
    if parsed.digest != record.digest:
        note(log, "previous image: %s", pinned)
    known = state is not None and state.knows(parsed.repository, record.digest)
    return Previous(record, pinned, place, trusted=parsed.digest is not None or known)


class _UnsoundBlobsError(RechunkError):
    """Blobs were to be reused that are not what they should be; see verify_blobs()."""

    def __init__(self, digests: Mapping[Digest, bool]) -> None:
        super().__init__("blobs of the previous image are not what they should be")
        self.digests = digests


def build(
    request: pipeline.BuildRequest,
    output: Output,
    previous: Previous | None,
    compressions: frozenset[str],
    *,
    verify: bool | None = None,
    without: Sequence[str] = (),
    registry: Registry = DEFAULT,
    on_plan: Callable[[pipeline.Prepared, int], None] | None = None,
) -> WrittenImage:
    """pipeline.build(), naming blobs of the previous image again where their layers come out the same.

    Args:
        compressions: of blobs that may be reused, see acceptable(); none: every blob is written.
        verify: whether the blobs are fetched and hashed first; None: unless the image is trusted. One that
            is not what its diff_id says is written anew, with a warning.
        without: digests of blobs that are not to be reused.

    Raises:
        RechunkError: as pipeline.build(). ToolError: skopeo is missing or failed.
    """
    from rechunk_podman.build import pipeline  # numpy and all: who only looks for an image needs none of it

    if previous is None or not previous.has_blobs:
        return pipeline.build(request, output, on_plan=on_plan)
    excluded = {Digest(text) for text in without}
    verified: set[tuple[Digest, DiffId]] = set()

    def check(layers: Sequence[Layer]) -> None:
        claims = {
            (layer.descriptor.digest, layer.diff_id): layer
            for layer in layers
            if (known := reuse.get(layer.diff_id)) and known.digest == layer.descriptor.digest
        }
        new = [layer for claim, layer in claims.items() if claim not in verified]
        if not new:
            return
        unsound = verify_blobs(previous, new, registry)
        verified.update(claims)
        if unsound:
            raise _UnsoundBlobsError(unsound)

    wanted = (not previous.trusted) if verify is None else verify
    while True:
        reuse = reusable(previous.record, compressions, without=excluded)
        asked = replace(request, reuse=reuse, reuse_from=previous.reference if reuse else None)
        try:
            return pipeline.build(asked, output, on_plan=on_plan, on_layers=check if wanted else None)
        except _UnsoundBlobsError as error:
            excluded |= error.digests.keys()
            log.warning("%d layers are written anew instead of being reused", len(error.digests))
            if any(error.digests.values()):
                # Whoever pushes is told that a blob of that digest is there: others are needed.
                request = replace(request, compression=request.compression.neighbour())
                level = request.compression.level
                log.warning("at level %d, so that damaged blobs are not taken for the new ones", level)


def verify_blobs(
    previous: Previous, layers: Sequence[Layer], registry: Registry = DEFAULT
) -> dict[Digest, bool]:
    """Fetches blobs of the previous image and hashes what they hold.

    Gives the digests of those that are wrong, and of each whether it is damaged: other bytes than its digest
    says are kept in its place. A warning says what is wrong. Nothing is kept on disk.

    Raises:
        ToolError: skopeo is missing or failed.
    """
    unsound: dict[Digest, bool] = {}
    # One blob may stand for several layers in a forged manifest: each of them is a claim of its own.
    unique = {(layer.descriptor.digest, layer.diff_id): layer for layer in layers}
    total = sum(layer.descriptor.size for layer in unique.values())
    log.info("verifying %d blobs of %s, %d bytes", len(unique), previous.reference, total)
    with _opener(previous, registry) as opener:
        for (digest, _), layer in unique.items():
            problem = _asked_again(opener, layer)
            if problem is not None:
                log.warning("%s: blob %s: %s", previous.reference, digest, problem.text)
                unsound[digest] = unsound.get(digest, False) or problem.damaged
    return unsound


@contextmanager
def _opener(previous: Previous, registry: Registry) -> Iterator[Opener]:
    if previous.place is not Place.REGISTRY:
        path = parse_reference(locate(previous.reference)[1]).path
        store = DirectoryStore(Path(path))
        try:
            yield lambda layer: store.open(blob_name(layer.descriptor.digest))
        finally:
            store.close()
        return
    with (
        options_of(previous.repository or "", registry) as (options, secrets),
        proxy(options, env=registry.env, secrets=secrets) as connection,
    ):
        image = _opened(connection, previous.reference)
        yield lambda layer: connection.blob(image, layer.descriptor)
        connection.close_image(image)


def _opened(connection: ImageProxy, reference: str) -> int:
    """The proxy's handle of an image in a registry, which may have to be asked again.

    Raises:
        UnreachableError: it cannot be opened. ToolError: the proxy is broken.
    """
    for attempt in itertools.count(1):
        try:
            return connection.open(reference)
        except BlobError as error:
            said = error.message
            if not (answers.BUSY.search(said) and answers.again(attempt, f"open {reference}", said)):
                raise answers.UnreachableError(
                    f"cannot verify the layers of {reference}",
                    context=[said],
                    hint="run the same command again; --no-reuse does without them",
                ) from error
    raise AssertionError("unreachable")


class _Problem(NamedTuple):
    """What is wrong with a blob. damaged: see verify_blobs()."""

    text: str
    damaged: bool = False


def _asked_again(opener: Opener, layer: Layer) -> _Problem | None:
    """As _problem(); where the registry could not answer now it is asked again, aloud."""
    for attempt in itertools.count(1):
        problem = _problem(opener, layer)
        if problem is None or not answers.BUSY.search(problem.text):
            break
        if not answers.again(attempt, f"fetch blob {layer.descriptor.digest}", problem.text):
            break
    return problem


def _problem(opener: Opener, layer: Layer) -> _Problem | None:
    """What is wrong with a blob; None where it is the one that holds the layer."""
    name = "the blob"
    try:
        with opener(layer) as raw:
            stored = HashingReader(raw)
            source = io.BufferedReader(stored, 1 << 20)
            compression = layer_compression(layer.descriptor.media_type, name)
            tar = HashingReader(decompressor(source, compression, name))
            scratch = bytearray(1 << 20)
            while tar.size <= layer.uncompressed_size and tar.readinto(scratch):
                pass
            if tar.size > layer.uncompressed_size:
                return _Problem(f"it holds more than the {layer.uncompressed_size} bytes of the layer")
            stored.drain()
    except ToolError:
        raise
    except RechunkError as error:
        text = "; ".join((error.message, *error.context))
        absent = answers.MISSING.search(text) or os.strerror(errno.ENOENT) in text
        return _Problem(text, damaged=not (absent or answers.BUSY.search(text)))
    if (stored.digest, stored.size) != (layer.descriptor.digest, layer.descriptor.size):
        return _Problem(f"it is {stored.digest} of {stored.size} bytes", damaged=True)
    if DiffId(tar.digest) != layer.diff_id:
        wrong = f"it holds {tar.digest}, not the layer {layer.diff_id}"
        return _Problem(f"{wrong}: the previous image is damaged or forged")
    return None
