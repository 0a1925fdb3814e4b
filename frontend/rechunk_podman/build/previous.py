"""The previous image as a source of blobs: resolve it once to a digest; trust or verify its blobs.

Reuse needs trust: old clients accept a blob that does not match its diff_id, and every later, signed image
would contain a wrong blob, too. So blobs are fetched and hashed before a new manifest names them, unless the
user named the image by its digest, or the user pushed this image (registry/state.py), or this machine has
verified the blob before (registry/verified.py).
"""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechunk_podman.errors import MissingImageError, RechunkError, ToolError
from rechunk_podman.log import NOTE, note
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.documents import ImageRecord, layer_compression
from rechunk_podman.oci.read.image import HashingReader, decompressor
from rechunk_podman.oci.read.stores import DirectoryStore, blob_name
from rechunk_podman.oci.reference import DOCKER, OCI, LocationKind, Target, locate, parse_path
from rechunk_podman.oci.reuse import acceptable, reusable
from rechunk_podman.oci.spec import DiffId, Digest, Layer
from rechunk_podman.oci.write.documents import WrittenImage
from rechunk_podman.oci.write.output import Format, Output
from rechunk_podman.programs.imageproxy import BlobError, proxy
from rechunk_podman.registry import verified
from rechunk_podman.registry.access import DEFAULT, Registry, skopeo_options
from rechunk_podman.registry.answers import BUSY, MISSING, DeniedError, UnreachableError, is_busy
from rechunk_podman.registry.documents import image_documents, previous_documents
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.state import State
from rechunk_podman.registry.tags import newest_beside
from rechunk_podman.registry.waiting import Wait
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.build import pipeline
    from rechunk_podman.build.options import BuildOptions

log = logging.getLogger(__name__)

_PROXY_HINT = "blobs are verified by skopeo 1.6 or newer; --no-verify-previous trusts them"

Opener = Callable[[Layer], Any]
"""Layer -> a context manager of its blob as a stream."""


@dataclass(frozen=True, slots=True)
class Previous:
    """The previous image.

    reference: its reference, with the digest if it is in a registry.
    kind: the kind of its location; blobs are reused from registries and OCI layouts.
    trusted: True if the user vouches for its blobs.
    """

    record: ImageRecord
    reference: str
    kind: LocationKind
    trusted: bool = False

    @property
    def has_blobs(self) -> bool:
        """True if its blobs are the final ones, which another image can name."""
        layout = self.kind is LocationKind.IMAGE and locate(self.reference)[1].startswith(f"{OCI}:")
        return self.record.manifest is not None and (self.kind is LocationKind.REGISTRY or layout)

    @property
    def repository(self) -> str | None:
        """Its repository; None if it is not in a registry."""
        if self.kind is not LocationKind.REGISTRY:
            return None
        return names.parse(self.reference.removeprefix(DOCKER)).repository


def resolve(
    reference: str, registry: Registry = DEFAULT, state: State | None = None, *, level: int = NOTE
) -> Previous | None:
    """Return the previous image; log a warning and return None if it does not exist or is not usable.

    The result names an image in a registry by its digest, because its tag may move; a note names it, too.

    Args:
        level: of the note.

    Raises:
        RechunkError: as previous_documents().
    """
    record = previous_documents(reference, registry)
    return None if record is None else found(reference, record, state, level)


def pushed_before(
    target: Target, registry: Registry = DEFAULT, state: State | None = None, *, auto: bool = False
) -> Previous | None:
    """Return the image that the target of a push names now, or None.

    If it names none, log a note about the newest of the repository's other tags.

    Args:
        auto: if the target names no image, return that of the newest other tag.

    Raises:
        UnreachableError: the registry did not answer. ToolError: skopeo is missing or failed.
    """
    try:
        return found(str(target), image_documents(str(target), registry), state)
    except MissingImageError as error:
        log.info("no previous image: %s", error.message)
    except DeniedError as error:
        log.warning("no previous image: %s", "; ".join((error.message, *error.context[:1])))
        return None
    except ToolError:
        raise
    except RechunkError as error:
        log.warning("no previous image: %s", "; ".join((error.message, *error.context[:1])))
    try:
        other = newest_beside(target, registry)
    except ToolError as error:
        # Some registries list no tags, and without `auto` the user did not request another tag's image.
        if auto and not isinstance(error, DeniedError):
            raise
        (log.warning if auto else log.info)("no previous image: %s", error.message)
        return None
    if other is None:
        return None
    reference = str(Target(target.repository, other.tag))
    if auto:
        return resolve(reference, registry, state)
    note(log, "%s is new, and its layers are planned without memory", target)
    note(log, "--previous auto continues those of the newest other tag there, %s", reference)
    return None


def found(reference: str, record: ImageRecord, state: State | None = None, level: int = NOTE) -> Previous:
    """Return the Previous of a reference and the image's documents; log a note, at `level`, that names it."""
    kind = locate(reference)[0]
    if kind is LocationKind.DOCUMENT:
        return Previous(record, reference, kind)
    if kind is not LocationKind.REGISTRY or record.digest is None:
        log.log(level, "previous image: %s%s", reference, f" ({record.digest})" if record.digest else "")
        return Previous(record, reference, kind)
    parsed = names.parse(reference.removeprefix(DOCKER))
    pinned = f"{DOCKER}{parsed.repository}@{record.digest}"
    if parsed.digest != record.digest:
        log.log(level, "previous image: %s", pinned)
    known = state is not None and state.knows(parsed.repository, record.digest)
    return Previous(record, pinned, kind, trusted=parsed.digest is not None or known)


def compressions(options: BuildOptions) -> frozenset[str]:
    """Return the compressions that reused blobs may have."""
    return acceptable(options.compression.kind, docker=options.docker or options.format is Format.DOCKER)


class _UnsoundBlobsError(RechunkError):
    """Blobs that were to be reused are wrong; see verify_blobs()."""

    def __init__(self, digests: Mapping[Digest, bool]) -> None:
        super().__init__("blobs of the previous image are not what they should be")
        self.digests = digests


def build(
    source: pipeline.Source,
    options: BuildOptions,
    output: Output,
    previous: Previous,
    *,
    verify: bool | None = None,
    recheck: bool = False,
    without: Sequence[Digest] = (),
    registry: Registry = DEFAULT,
    on_plan: Callable[[pipeline.Prepared, int], None] | None = None,
) -> WrittenImage:
    """Build as pipeline.build() does, but reuse blobs of the previous image whose layers are unchanged.

    Args:
        verify: fetch and hash the blobs first; None: do so unless the image is trusted. A blob that does not
            match its diff_id is written anew, with a warning.
        recheck: verify also blobs that this machine has verified before.
        without: digests of blobs that are not to be reused.

    Raises:
        RechunkError: as pipeline.build(). ToolError: skopeo is missing or failed.
    """
    from rechunk_podman.build import pipeline  # needs numpy, which slows commands that only find images

    in_registry = previous.kind is LocationKind.REGISTRY
    cache = verified.cache_file() if in_registry and not recheck else None
    accepted = compressions(options)
    excluded = set(without)
    sound = set(verified.load(cache))

    def check(layers: Sequence[Layer]) -> None:
        claims = {
            (layer.descriptor.digest, layer.diff_id): layer
            for layer in layers
            if (known := reuse.get(layer.diff_id)) and known.digest == layer.descriptor.digest
        }
        if in_registry and source.foreign is not None:
            # To plan with these layers, they were fetched, and both hashes were compared.
            sound.update(claim for claim in claims if claim[1] in source.foreign.read)
        new = [layer for claim, layer in claims.items() if claim not in sound]
        unsound = verify_blobs(previous, new, registry) if new else {}
        sound.update(claims)
        verified.remember(cache, (claim for claim in claims if claim[0] not in unsound))
        if unsound:
            raise _UnsoundBlobsError(unsound)

    wanted = (not previous.trusted) if verify is None else verify
    while True:
        reuse = reusable(previous.record, accepted, without=excluded)
        try:
            return pipeline.build(
                source,
                options,
                output,
                reuse=reuse,
                reuse_from=previous.reference if reuse else None,
                on_plan=on_plan,
                on_layers=check if wanted else None,
            )
        except _UnsoundBlobsError as error:
            excluded |= error.digests.keys()
            log.warning("%d layers are written anew instead of being reused", len(error.digests))
            if any(error.digests.values()):
                # The registry would say that it has a blob of this digest: the new blobs must differ.
                options = replace(options, compression=options.compression.neighbour())
                level = options.compression.level
                log.warning("at level %d, so that damaged blobs are not taken for the new ones", level)


def verify_blobs(
    previous: Previous, layers: Sequence[Layer], registry: Registry = DEFAULT
) -> dict[Digest, bool]:
    """Fetch blobs of the previous image and hash their bytes and tars; keep nothing on disk.

    Return the digests of the wrong blobs, each with True if the blob is damaged: its bytes do not match the
    digest. Log a warning for each wrong blob.

    Raises:
        ToolError: skopeo is missing or failed.
    """
    unsound: dict[Digest, bool] = {}
    # A forged manifest may name one blob for several layers: each pair must be verified.
    unique = {(layer.descriptor.digest, layer.diff_id): layer for layer in layers}
    total = sum(layer.descriptor.size for layer in unique.values())
    what = "fetched and hashed" if previous.kind is LocationKind.REGISTRY else "read and hashed"
    note(
        log,
        "%d layers of %s are verified before they are reused: %s are %s",
        len(unique),
        previous.reference,
        human_size(total),
        what,
    )
    with _opener(previous, registry) as opener:
        for (digest, _), layer in unique.items():
            try:
                retry(partial(_check_blob, opener, layer), f"fetch blob {digest}", is_busy)
            except _WrongBlobError as error:
                log.warning("%s: blob %s: %s", previous.reference, digest, error.message)
                unsound[digest] = unsound.get(digest, False) or error.damaged
    return unsound


@contextmanager
def _opener(previous: Previous, registry: Registry) -> Iterator[Opener]:
    if previous.kind is not LocationKind.REGISTRY:
        path = parse_path(locate(previous.reference)[1]).path
        store = DirectoryStore(Path(path))
        try:
            yield lambda layer: store.open(blob_name(layer.descriptor.digest))
        finally:
            store.close()
        return
    wait = Wait(previous.repository or "", f"read {previous.reference}", registry.timeout)
    with (
        skopeo_options(previous.repository or "", registry) as (options, secrets),
        proxy(
            options, env=registry.env, secrets=secrets, hint=_PROXY_HINT, on_silence=wait.quiet
        ) as connection,
    ):
        try:
            image = retry(lambda: connection.open(previous.reference), f"open {previous.reference}", is_busy)
        except BlobError as error:
            raise UnreachableError(
                f"cannot verify the layers of {previous.reference}",
                context=[error.message],
                hint="run the same command again; --no-reuse does without them",
            ) from error
        yield lambda layer: connection.blob(image, layer.descriptor)
        connection.close_image(image)


class _WrongBlobError(RechunkError):
    """A blob does not hold the layer. damaged: see verify_blobs()."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


def _check_blob(opener: Opener, layer: Layer) -> None:
    """Read a blob, and hash it and the tar in it.

    Raises:
        _WrongBlobError: the blob is missing or does not hold the layer. ToolError: skopeo failed.
    """
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
            if tar.size <= layer.uncompressed_size:
                stored.drain()
    except ToolError:
        raise
    except RechunkError as error:
        text = "; ".join((error.message, *error.context))
        absent = MISSING.search(text) or os.strerror(errno.ENOENT) in text
        raise _WrongBlobError(text, damaged=not (absent or BUSY.search(text))) from error
    if tar.size > layer.uncompressed_size:
        raise _WrongBlobError(f"it holds more than the {layer.uncompressed_size} bytes of the layer")
    if (stored.digest, stored.size) != (layer.descriptor.digest, layer.descriptor.size):
        raise _WrongBlobError(f"it is {stored.digest} of {stored.size} bytes", damaged=True)
    if DiffId(tar.digest) != layer.diff_id:
        wrong = f"it holds {tar.digest}, not the layer {layer.diff_id}"
        raise _WrongBlobError(f"{wrong}: the previous image is damaged or forged")
