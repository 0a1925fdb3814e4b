"""Copies of layers of another image, as they are."""

from __future__ import annotations

from typing import BinaryIO

from rechunk_podman.errors import ImageError
from rechunk_podman.files import write_at
from rechunk_podman.oci.read.image import HashingReader, ImageSource
from rechunk_podman.oci.spec import Descriptor, Layer
from rechunk_podman.oci.write.layers import BlobFile

_CHUNK = 1 << 20


def copy_layer(image: ImageSource, index: int, descriptor: Descriptor | None, file: BlobFile) -> Layer:
    """Copy a layer of an image: its blob, or its uncompressed tar.

    Args:
        descriptor: of the blob; None to copy the tar.

    Raises:
        ImageError: the blob is missing or damaged, or does not match its diff_id.
        RechunkError: the file cannot be written.
    """
    diff_id = image.record.layers[index].diff_id
    if descriptor is None:
        with image.layer(index) as tar:
            _copy(tar, file)
            size: int = tar.raw.size
        return Layer.plain(diff_id, size)
    with image.layer(index) as tar:
        while tar.read(_CHUNK):
            pass
        size = tar.raw.size
    with image.blob(index) as blob:
        hashed = HashingReader(blob)
        _copy(hashed, file)
    if (hashed.digest, hashed.size) != (descriptor.digest, descriptor.size):
        raise ImageError(
            f"{image.name}: the blob of layer {index + 1} is not the one that its descriptor names",
            context=[f"it is {hashed.digest} of {hashed.size} bytes"],
        )
    return Layer(diff_id, descriptor, size)


def _copy(source: BinaryIO | HashingReader, file: BlobFile) -> None:
    offset = file.offset
    with file.opened(0) as fd:
        while data := source.read(_CHUNK):
            write_at(fd, data, offset, file.path)
            offset += len(data)
