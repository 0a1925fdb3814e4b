"""skopeo's image proxy, the real one, on OCI layouts; and a proxy that breaks off."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from pathlib import Path

import pytest

from rechunk_podman.errors import ImageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.oci.write.documents import LAYOUT_FILE, dump
from rechunk_podman.programs.imageproxy import BlobError, proxy
from support.needs import require

DATA = random.Random(1).randbytes(3 << 20)


def descriptor(data: bytes, media_type: str = spec.MEDIA_LAYER) -> Descriptor:
    return Descriptor(media_type, Digest("sha256:" + hashlib.sha256(data).hexdigest()), len(data))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout of one image whose only layer is DATA, which the proxy does not look into."""
    require("skopeo")
    folder = tmp_path / "layout"
    (folder / "blobs/sha256").mkdir(parents=True)
    config = dump({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["x"]}})
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": spec.MEDIA_MANIFEST,
            "config": descriptor(config, spec.MEDIA_CONFIG).to_json(),
            "layers": [descriptor(DATA).to_json()],
        }
    )
    for data in (DATA, config, manifest):
        (folder / "blobs/sha256" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    index = {"schemaVersion": 2, "manifests": [descriptor(manifest, spec.MEDIA_MANIFEST).to_json()]}
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def test_blobs_come_as_streams(layout):
    with proxy() as connection:
        image = connection.open(f"oci:{layout}")
        for _ in range(2):
            with connection.blob(image, descriptor(DATA)) as stream:
                assert io.BufferedReader(stream).read() == DATA
        connection.close_image(image)


def test_a_reader_may_leave_early(layout):
    with proxy() as connection:
        image = connection.open(f"oci:{layout}")
        with connection.blob(image, descriptor(DATA)) as stream:
            assert len(stream.read(1000)) == 1000
        with pytest.raises(KeyError), connection.blob(image, descriptor(DATA)) as stream:
            raise KeyError
        with connection.blob(image, descriptor(DATA)) as stream:
            assert len(io.BufferedReader(stream).read()) == len(DATA)


@pytest.mark.parametrize("change", [b"", DATA[:-1], DATA + b"x", b"x" + DATA[1:]])
def test_a_blob_that_is_another_one(layout, change):
    """Shorter, longer or other content: said at its end, and nothing hangs."""
    (layout / "blobs/sha256" / hashlib.sha256(DATA).hexdigest()).write_bytes(change)
    with proxy() as connection:
        image = connection.open(f"oci:{layout}")
        with pytest.raises(BlobError), connection.blob(image, descriptor(DATA)) as stream:
            io.BufferedReader(stream).read()


@pytest.mark.parametrize(
    ("size", "raised", "expected"),
    [
        (len(DATA), ImageError("cut off"), BlobError),
        (len(DATA), KeyError(), KeyError),
        (1, ImageError("odd"), ImageError),
    ],
)
def test_a_blob_that_breaks_off_under_its_reader(layout, size, raised, expected):
    """The proxy knows why; an error of another kind, or before the end, is the reader's own."""
    (layout / "blobs/sha256" / hashlib.sha256(DATA).hexdigest()).write_bytes(DATA[:-1])

    def read(connection, image):
        with connection.blob(image, descriptor(DATA)) as stream:
            io.BufferedReader(stream, 1).read(size)
            raise raised

    with proxy() as connection:
        image = connection.open(f"oci:{layout}")
        with pytest.raises(expected):
            read(connection, image)


def test_what_is_not_there(layout):
    with proxy() as connection:
        with pytest.raises(BlobError):
            connection.open(f"oci:{layout}-none")
        image = connection.open(f"oci:{layout}")
        with pytest.raises(BlobError), connection.blob(image, descriptor(b"nothing")):
            pytest.fail("there is no such blob")


def test_no_descriptors_are_left(layout):
    before = len(os.listdir("/proc/self/fd"))
    test_blobs_come_as_streams(layout)
    test_a_reader_may_leave_early(layout)
    assert len(os.listdir("/proc/self/fd")) == before
