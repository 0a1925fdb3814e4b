"""An OCI layout: a directory with `oci-layout`, `index.json` and `blobs/sha256/`.

Source: image-spec image-layout.md. A file in it lists blobs that it lacks on purpose: see sparse.py.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rechunk_podman.errors import UsageError
from rechunk_podman.files import output_error, partial_path, partial_pattern, remove_partial, write_file
from rechunk_podman.log import complete_blob
from rechunk_podman.oci.sparse import SPARSE_FILE, sparse_document
from rechunk_podman.oci.spec import Layer
from rechunk_podman.oci.write.documents import LAYOUT_FILE, WrittenImage
from rechunk_podman.oci.write.layers import BlobFile
from rechunk_podman.signals import signals_deferred
from rechunk_podman.temporary import dead, hold, remove

_BEFORE_INDEX = ("blobs", SPARSE_FILE, "oci-layout")
"""Names that are moved into an existing directory, in this order, before index.json completes the layout."""


class LayoutWriter:
    """The Destination `oci:PATH`: a directory that does not exist yet, or is empty.

    The layout is written to a temporary directory that is renamed. If the directory exists (it may be a mount
    point), the files are moved into it at the end, index.json last. Files of killed runs are removed.

    Raises:
        UsageError: the path is no directory, or not an empty one.
        RechunkError: the layout cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._path = Path(os.path.realpath(path))
        self._inside = False
        self._done = False
        self._lock: int | None = None
        with ExitStack() as stack:
            self._make(stack)
            stack.pop_all()

    def _make(self, stack: ExitStack) -> None:
        path = self.path
        try:
            if self._path.exists() and not self._path.is_dir():
                hint = "an OCI layout is a directory; oci-archive:PATH writes a file"
                raise UsageError(f"{path} is no directory", hint=hint)
            if self._path.exists():
                _clear(self._path)
                if any(self._path.iterdir()):
                    raise UsageError(
                        f"{path} exists and is not empty", hint="remove it, or name another directory"
                    )
                self._inside = True
            final = self._path / "layout" if self._inside else self._path
            remove_partial(final)
            with signals_deferred():
                while self._lock is None:
                    self._staging = partial_path(final)
                    self._staging.mkdir()
                    self._lock = hold(self._staging)
                stack.callback(self.__exit__, None, None, None)
            self._blob("").mkdir(parents=True)
        except OSError as error:
            raise output_error(path, error) from error

    def _blob(self, name: str) -> Path:
        return self._staging / "blobs" / "sha256" / name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with signals_deferred():
            if not self._done:
                shutil.rmtree(self._staging, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def blob_file(self, index: int, size: int) -> BlobFile:
        """See Destination."""
        return BlobFile(str(self._blob(f"layer-{index}")))

    def complete(self, index: int, layer: Layer) -> None:
        """See Destination."""
        digest = layer.descriptor.digest.removeprefix("sha256:")
        try:
            self._blob(f"layer-{index}").rename(self._blob(digest))
        except OSError as error:
            raise output_error(self.path, error) from error
        complete_blob(str(self._blob(digest)))

    def commit(self, image: WrittenImage) -> None:
        """See Destination."""
        write_file(self._blob(image.config_descriptor.digest.removeprefix("sha256:")), image.config)
        write_file(self._blob(image.manifest_descriptor.digest.removeprefix("sha256:")), image.manifest)
        write_file(self._staging / "oci-layout", LAYOUT_FILE)
        if image.elsewhere:
            write_file(self._staging / SPARSE_FILE, sparse_document(image.elsewhere, image.origin))
        write_file(self._staging / "index.json", image.index)
        try:
            with signals_deferred():
                self._publish(has_sparse_file=bool(image.elsewhere))
        except OSError as error:
            raise output_error(self.path, error) from error

    def _publish(self, *, has_sparse_file: bool) -> None:
        if self._inside:
            for name in (*_BEFORE_INDEX, "index.json"):
                if name != SPARSE_FILE or has_sparse_file:
                    (self._staging / name).rename(self._path / name)
            self._staging.rmdir()
        else:
            self._staging.rename(self._path)
        self._done = True


def _clear(path: Path) -> None:
    """Remove the files that a killed run left in an otherwise empty directory.

    Only what it had moved out of its temporary directory is its own: what is still there, somebody else made.
    """
    for partial in map(Path, dead(str(path), partial_pattern(path / "layout"))):
        if (path / "index.json").exists() or not (partial / "index.json").exists():
            continue
        for name in _BEFORE_INDEX:
            if not (partial / name).exists():
                remove(str(path / name))
