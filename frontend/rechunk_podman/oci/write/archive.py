"""An OCI layout as one tar file: blobs are written at their final offsets, their headers afterwards.

Source: containers-transports(5) "oci-archive"; image-spec image-layout.md for the members. The size of an
uncompressed layer is known in advance, so blob_file() can assign its offset; its header follows when its
name, the digest, is known. Compressed layers are written beside the archive and appended in order.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import OutputFile, copy_to, output_error
from rechunk_podman.oci.spec import Descriptor, Layer
from rechunk_podman.oci.write.documents import LAYOUT_FILE, WrittenImage
from rechunk_podman.oci.write.layers import BlobFile
from rechunk_podman.oci.write.reserve import reserve
from rechunk_podman.oci.write.tar import END, directory_header, file_header, file_header_size, padded
from rechunk_podman.patterns import compile_later
from rechunk_podman.temporary import PREFIX, dead, private_directory

_STAGING = f".{PREFIX}"
_STAGING_NAME = compile_later(re.escape(_STAGING) + "[0-9a-f]{8}")


class TarWriter:
    """A tar file whose members are blobs, with names that are known only after the data.

    Args:
        head: the members in front of the blobs.
        prefix, suffix: of the blobs' names: `prefix` + 64 hex digits + `suffix`.
        compressed: True if the sizes of blobs differ from those of their tars.
    """

    def __init__(self, path: str | None, head: bytes, prefix: str, suffix: str, *, compressed: bool) -> None:
        self.file = OutputFile(path)
        self.prefix, self.suffix = prefix, suffix
        self.staging: str | None = None
        self._stack = ExitStack()
        # index of a layer -> offset and size of its blob
        self.reserved: dict[int, tuple[int, int]] = {}
        self.waiting: dict[int, Descriptor] = {}
        self.next_index = 0
        try:
            self.file.write(head, 0)
            self.end = len(head)
            if compressed:
                self._stage()
        except BaseException:
            self.file.__exit__(None, None, None)
            raise

    def _stage(self) -> None:
        """Make a directory beside the archive for its layers; remove those that killed runs left."""
        for _ in dead(self.file.directory, _STAGING_NAME):
            pass
        try:
            held = private_directory(self.file.directory, prefix=_STAGING)
            self.staging = self._stack.enter_context(held).path
        except OSError as error:
            raise output_error(self.file.directory, error) from error

    def _reserve(self, start: int) -> None:
        try:
            reserve(self.file.fd, self.file.base + start, self.end - start)
        except OSError as error:
            raise output_error(self.file.name, error) from error

    def _header_size(self, size: int) -> int:
        return file_header_size(len(self.prefix) + 64 + len(self.suffix), size)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.file.__exit__(kind, value, traceback)
        self._stack.close()

    def blob_file(self, index: int, size: int) -> BlobFile:
        """See Destination."""
        if self.staging:
            return BlobFile(str(self._staged(index)))
        before = self.end
        start = before + self._header_size(size)
        self.reserved[index] = (start, size)
        self.end = start + padded(size)
        self._reserve(before)
        return BlobFile(self.file.name, self.file.fd, self.file.base + start)

    def _staged(self, index: int) -> Path:
        return Path(self.staging or "", str(index))

    def name(self, digest: str) -> str:
        """Return the name of the member that holds a blob."""
        return self.prefix + digest.removeprefix("sha256:") + self.suffix

    def complete(self, index: int, layer: Layer) -> None:
        """See Destination."""
        blob = layer.descriptor
        if not self.staging:
            start, size = self.reserved[index]
            if blob.size != size:
                raise RechunkError(f"a blob came to {blob.size} bytes, not {size}")
            head = file_header(self.name(blob.digest), blob.size)
            self.file.write(head, start - len(head))
            return
        self.waiting[index] = blob
        while self.next_index in self.waiting:
            self._append(self.next_index, self.waiting.pop(self.next_index))
            self.next_index += 1

    def _append(self, index: int, blob: Descriptor) -> None:
        head = file_header(self.name(blob.digest), blob.size)
        self.file.write(head, self.end)
        path = self._staged(index)
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.lseek(self.file.fd, self.file.base + self.end + len(head), os.SEEK_SET)
                copy_to(self.file.fd, source, blob.size)
            finally:
                os.close(source)
            path.unlink()
        except OSError as error:
            raise output_error(self.file.name, error) from error
        self.end += len(head) + padded(blob.size)

    def add(self, name: str, data: bytes) -> None:
        """Append a member."""
        head = file_header(name, len(data))
        self.file.write(head + data, self.end)
        self.end += len(head) + padded(len(data))

    def close(self) -> None:
        """End the archive and make it appear."""
        self.file.write(END, self.end)
        self.file.commit(self.end + len(END))


class ArchiveWriter(TarWriter):
    """The Destination `oci-archive:PATH`. compressed: True if its layers are compressed."""

    def __init__(self, path: str | None, *, compressed: bool) -> None:
        head = file_header("oci-layout", len(LAYOUT_FILE)) + LAYOUT_FILE.ljust(
            padded(len(LAYOUT_FILE)), b"\0"
        )
        head += directory_header("blobs") + directory_header("blobs/sha256")
        super().__init__(path, head, "blobs/sha256/", "", compressed=compressed)

    def commit(self, image: WrittenImage) -> None:
        """See Destination."""
        self.add(self.name(image.config_descriptor.digest), image.config)
        self.add(self.name(image.manifest_descriptor.digest), image.manifest)
        self.add("index.json", image.index)
        self.close()
