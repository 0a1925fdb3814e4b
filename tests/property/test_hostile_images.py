"""Readers of images on random damage: every failure is a RechunkError, and none takes long."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from faults.odd_tars import CASES
from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.documents import image_record, parse_docker_manifest, parse_index
from rechunk_podman.oci.read.decompress import GzipReader, ZstdReader, zstd_frames
from rechunk_podman.oci.read.flatten import read_tree
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.tar import members
from rechunk_podman.oci.sparse import parse_sparse
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.validate.tar import check_tar
from support.fuzzing import SECONDS, SEED, damaged, tried
from support.oci_material import CONFIG, LAYER, MANIFEST, Layout, archive_of, make_tar, member

DIGEST = "sha256:" + "0" * 64
CONFIG_DOCUMENT = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "config": {"Env": ["A=B"], "Cmd": ["x"], "Labels": {"a": "b"}, "Healthcheck": {"Test": ["CMD"]}},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "x", "comment": "c"}],
}
MANIFEST_DOCUMENT = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"mediaType": CONFIG, "digest": DIGEST, "size": 3},
    "layers": [{"mediaType": LAYER, "digest": DIGEST, "size": 1, "annotations": {"a": "b"}}],
}
INDEX_DOCUMENT = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": MANIFEST,
            "digest": DIGEST,
            "size": 3,
            "platform": {"os": "linux", "architecture": "amd64"},
            "annotations": {"org.opencontainers.image.ref.name": "x"},
        }
    ],
}
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**400,
    "\ud800",
    "",
    [],
    {},
    [[]],
    {"a": 1},
    "a\0b",
    "9" * 5000,
)
ODD_TEXTS = (b"[" * 2000, b'{"a":' * 400 + b"1" + b"}" * 400, b"1e999", b"NaN", b'{"a":1e999}')


def read_members(data: bytes) -> None:
    for _, content in members(io.BytesIO(data), "layer"):
        if content is not None:
            content.sha256()


def read_gzip(data: bytes) -> None:
    reader = io.BufferedReader(GzipReader(io.BytesIO(data), "blob"))
    while reader.read(1 << 16):
        pass


def read_zstd(data: bytes) -> None:
    zstd_frames(io.BytesIO(data), len(data), "blob")
    reader = io.BufferedReader(ZstdReader(io.BytesIO(data), "blob"))
    while reader.read(1 << 16):
        pass


def documents() -> Sequence[bytes]:
    return [json.dumps(one).encode() for one in (CONFIG_DOCUMENT, MANIFEST_DOCUMENT, INDEX_DOCUMENT)]


def config(data: bytes) -> None:
    record = image_record("image", None, data)
    json.dumps(record.config.config).encode()


TARS = [tar for layers in CASES.values() for tar in layers if len(tar) < 20_000]
PLAIN = make_tar([member("a", data=b"a" * 2000), member("b")])

READERS: dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]] = {
    "tar": (read_members, TARS),
    "check_tar": (lambda data: check_tar(io.BytesIO(data), "layer"), TARS),
    "gzip": (read_gzip, [gzip.compress(PLAIN)]),
    "zstd": (read_zstd, [zstandard.compress(PLAIN)]),
    "config": (config, documents()),
    "manifest": (lambda data: image_record("image", data, documents()[0]), documents()),
    "index": (lambda data: parse_index(data, "index"), documents()),
    "docker manifest": (
        lambda data: parse_docker_manifest(data, "archive"),
        [b'[{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["x"]}]'],
    ),
    "sparse": (
        lambda data: parse_sparse(data, "sparse"),
        [b'{"version": 1, "elsewhere": ["%s"]}' % DIGEST.encode()],
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_random_damage(name):
    reader, corpus = READERS[name]
    chance = random.Random(f"{SEED} {name}")
    end = time.monotonic() + SECONDS
    count = 0
    while count < 100 or time.monotonic() < end:
        data = damaged(chance.choice(corpus), chance)
        if name in ("tar", "check_tar") and len(data) % 512:
            data = data[: len(data) // 512 * 512]
        tried(reader, data)
        count += 1


def places(document: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("name", ["config", "manifest", "index"])
def test_every_field_of_every_wrong_kind(name):
    reader, _ = READERS[name]
    document = {"config": CONFIG_DOCUMENT, "manifest": MANIFEST_DOCUMENT, "index": INDEX_DOCUMENT}[name]
    for path in places(document):
        for value in ODD_VALUES:
            tried(reader, json.dumps(replaced(document, path, value)).encode())
    for text in ODD_TEXTS:
        with pytest.raises(RechunkError):
            reader(text)


def test_damaged_layouts_and_archives(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "image").layer(PLAIN).layer(PLAIN, gzip.compress(PLAIN), LAYER)
    archive = archive_of(layout.finish(), tmp_path / "a.tar").read_bytes()
    target = tmp_path / "damaged.tar"
    chance = random.Random(f"{SEED} archive")

    def reader(data: bytes) -> None:
        target.write_bytes(data)
        with contextlib.suppress(RechunkError):
            validate(f"oci-archive:{target}")
        with open_image(f"oci-archive:{target}") as image:
            read_tree(image)

    end = time.monotonic() + SECONDS
    for count in range(10**9):
        if count >= 50 and time.monotonic() > end:
            break
        tried(reader, damaged(archive, chance))
