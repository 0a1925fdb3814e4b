"""The layers of an image in a registry, each fetched when it is read for the first time.

Also the preparation of mounts: a registry can give a blob of one of its repositories to another without an
upload (distribution-spec, "Mounting a blob from another repository"). skopeo asks for that if its cache says
in which repository the blob is, and the cache learns this from a read (containers/image, docker_client.go).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from rechunk_podman.errors import ImageError, RechunkError
from rechunk_podman.files import output_error
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.stores import blob_name
from rechunk_podman.oci.reference import DOCKER, Pinned
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.programs.imageproxy import BlobError, ImageProxy, proxy
from rechunk_podman.programs.process import CommandError, run
from rechunk_podman.programs.work import work_directory
from rechunk_podman.registry.access import DEFAULT, Registry, sided, skopeo_options
from rechunk_podman.registry.answers import UnreachableError, explained, explained_blob, is_busy
from rechunk_podman.registry.documents import image_documents
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.waiting import Wait

log = logging.getLogger(__name__)

_CHUNK = 1 << 20


class RegistryStore:
    """The blobs of one image in a registry, kept in `folder` once they are fetched.

    A Store, see oci/read/stores.py.
    """

    def __init__(
        self, name: str, blobs: Mapping[str, Descriptor], connection: ImageProxy, image: int, folder: Path
    ) -> None:
        self.name = name
        self.duplicates: tuple[str, ...] = ()
        self._blobs = blobs
        self._connection = connection
        self._image = image
        self._folder = folder
        self._lock = Lock()

    def sizes(self) -> Mapping[str, int]:
        """See Store."""
        return {name: descriptor.size for name, descriptor in self._blobs.items()}

    def head(self, name: str) -> bytes:
        """See Store; nothing is kept."""
        with self._lock, self._connection.blob(self._image, self._blobs[name]) as stream:
            return io.BufferedReader(stream, 512).read(8)

    def open(self, name: str) -> BinaryIO:
        """See Store. Fetch the blob if it is not here yet; one thread at a time does so.

        Raises:
            RechunkError: as explained_blob().
        """
        path = self._folder / Path(name).name
        digest = self._blobs[name].digest
        with self._lock:
            if not path.exists():
                try:
                    retry(partial(self._fetch, name, path), f"fetch {digest} of {self.name}", is_busy)
                except BlobError as error:
                    raise explained_blob(self.name, digest, error) from error
        return path.open("rb")

    def _fetch(self, name: str, path: Path) -> None:
        descriptor = self._blobs[name]
        log.info("fetching %s of %s, %d bytes", descriptor.digest, self.name, descriptor.size)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file, self._connection.blob(self._image, descriptor) as stream:
                left = descriptor.size
                while left and (data := stream.read(min(left, _CHUNK))):
                    left -= file.write(data)
                if left or stream.read(1):
                    raise ImageError(f"{self.name}: {name} does not have the size that its descriptor says")
        except OSError as error:
            raise output_error(str(part), error) from error
        part.rename(path)

    def close(self) -> None:
        """See Store."""


@contextmanager
def open_registry_image(reference: str, registry: Registry = DEFAULT) -> Iterator[ImageSource]:
    """Open an image in a registry; its blobs are deleted when the context ends.

    Args:
        reference: `docker://NAME`.

    Raises:
        RechunkError: as image_documents(). UnreachableError: skopeo cannot open it.
        ImageError: while reading, a blob does not match its digest.
    """
    record = image_documents(reference, registry)
    repository = names.parse(reference.removeprefix(DOCKER)).repository
    blobs = {
        blob_name(layer.descriptor.digest): layer.descriptor
        for layer in record.layers
        if layer.descriptor is not None
    }
    wait = Wait(repository, f"read {reference}", registry.timeout)
    with (
        work_directory() as folder,
        skopeo_options(repository, registry) as (options, secrets),
        proxy(options, env=registry.env, secrets=secrets, on_silence=wait.quiet) as connection,
    ):
        # By digest: the tag may move.
        pinned = f"{DOCKER}{repository}@{record.digest}"
        try:
            image = retry(lambda: connection.open(pinned), f"open {reference}", is_busy)
        except BlobError as error:
            raise UnreachableError(f"cannot read {reference}", context=[error.message]) from error
        store = RegistryStore(reference, blobs, connection, image, Path(folder))
        yield ImageSource(
            store,
            record,
            tuple(blob_name(layer.descriptor.digest) for layer in record.layers if layer.descriptor),
        )
        connection.close_image(image)


def fetch_layout(
    image: Pinned, layout: str, registry: Registry = DEFAULT, *, cwd: str, tick: Callable[[], None]
) -> None:
    """Copy an image from a registry into an OCI layout, its layers as they are.

    Args:
        layout: path, relative to cwd, without a colon.
        tick: called about five times a second.

    Raises:
        RechunkError: as explained(). ToolError: skopeo is missing or failed.
    """
    reference, repository = str(image), image.repository
    wait = Wait(repository, f"fetch {reference}", registry.timeout, tick)
    with skopeo_options(repository, registry) as (options, secrets):
        words = ["skopeo", "copy", "--quiet", "--remove-signatures", *(sided(one, "src") for one in options)]
        try:
            retry(
                lambda: run(
                    [*words, reference, f"oci:{layout}"],
                    env=registry.env,
                    cwd=cwd,
                    secrets=secrets,
                    tick=wait.tick,
                    started=wait.started,
                ),
                f"fetch {reference}",
                lambda error: is_busy(error, repository),
            )
        except CommandError as error:
            raise explained(reference, repository, error) from error


def prepare_mounts(reference: str, digests: Collection[Digest], registry: Registry = DEFAULT) -> None:
    """Let skopeo's cache learn that the repository of an image has these blobs; only their heads are read.

    A failure is logged and is no error: the caller has to expect a push that finds a blob nowhere.

    Args:
        reference: `docker://NAME@DIGEST` of the image.
    """
    try:
        with open_registry_image(reference, registry) as image:
            for digest in digests:
                image.store.head(blob_name(digest))
    except RechunkError as error:
        log.info("cannot prepare mounts of %s: %s", reference, "; ".join((error.message, *error.context)))
