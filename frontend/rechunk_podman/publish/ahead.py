"""Uploads of layers that begin before the image is complete, several at once.

skopeo uploads the layers of a layout one after the other, when all are there. So each layer is uploaded as
soon as its blob is complete, while others are still compressed. In the end skopeo copies the image: it finds
these blobs in the repository, and uploads what is missing. A layer that cannot be uploaded ahead is no error:
skopeo tries it again, or reports the reason.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.reference import DOCKER
from rechunk_podman.oci.spec import Digest
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.answers import SilentError
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.upload import PassingError, Repository
from rechunk_podman.registry.waiting import Wait

log = logging.getLogger(__name__)

AT_ONCE = 4
"""The number of layers that are uploaded at once."""

_LOOK_SECONDS = 0.1


class Uploads:
    """Uploads of blobs to one repository; a context manager that ends them."""

    def __init__(self, repository: str, registry: Registry) -> None:
        self._sent = 0
        self._wait = Wait(repository, f"push {DOCKER}{repository}", registry.timeout)
        self._repository = Repository(repository, registry, self._count)
        self._lock = threading.Condition()
        # open descriptor, size and digest of each blob
        self._waiting: deque[tuple[int, int, Digest]] = deque()
        self._running = 0
        self._threads = 0
        self._ended = False
        self._moved = time.monotonic()

    def __enter__(self) -> Uploads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def add(self, path: str, moved: str) -> None:
        """Upload a blob soon; afterwards its file may be renamed or removed.

        Args:
            path: of a complete file, named by the hex digits of its SHA-256.
            moved: the directory that holds the file if it is no longer at `path`.
        """
        name = os.path.basename(path)
        with self._lock:
            if self._ended:
                return
            try:
                fd = _opened(path, os.path.join(moved, name))
            except OSError as error:
                log.debug("not uploaded ahead: %s", error)
                return
            self._waiting.append((fd, os.fstat(fd).st_size, Digest(f"sha256:{name}")))
            if self._threads < AT_ONCE:
                self._threads += 1
                threading.Thread(target=self._work, name="upload", daemon=True).start()
            self._lock.notify()

    def finish(self, tick: Callable[[], None]) -> None:
        """Wait until all blobs are uploaded, or cannot be.

        Args:
            tick: called several times a second.
        """
        self._moved = time.monotonic()
        try:
            while self._is_busy():
                tick()
                self._wait.quiet(time.monotonic() - self._moved)
                time.sleep(_LOOK_SECONDS)
        except SilentError as error:
            log.info("%s", error.message)
        self._end()

    def bytes_sent(self) -> int:
        """Return the number of bytes that were sent so far."""
        return self._sent

    def _is_busy(self) -> bool:
        with self._lock:
            return not self._ended and bool(self._waiting or self._running)

    def _end(self) -> None:
        """Begin no further upload."""
        with self._lock:
            self._ended = True
            while self._waiting:
                os.close(self._waiting.popleft()[0])
            self._lock.notify_all()

    def _count(self, count: int) -> None:
        if self._ended:
            raise _EndedError("the upload is not needed any more")
        with self._lock:
            self._sent += count
            self._moved = time.monotonic()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._ended or self._waiting)
                if self._ended:
                    return
                fd, size, digest = self._waiting.popleft()
                self._running += 1
            try:
                self._upload(fd, size, digest)
            except RechunkError as error:
                if not self._ended:
                    text = "; ".join((error.message, *error.context))
                    log.info("layers are uploaded when the image is complete: %s", text)
                self._end()
            finally:
                os.close(fd)
                with self._lock:
                    self._running -= 1
                    self._moved = time.monotonic()

    def _upload(self, fd: int, size: int, digest: Digest) -> None:
        retry(
            lambda: self._repository.upload(fd, size, digest),
            f"upload {digest}",
            lambda error: isinstance(error, PassingError) and not self._ended,
        )
        log.debug("uploaded %s, %d bytes", digest, size)


def _opened(path: str, moved: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(moved, os.O_RDONLY | os.O_CLOEXEC)


class _EndedError(RechunkError):
    """Uploads was ended."""
