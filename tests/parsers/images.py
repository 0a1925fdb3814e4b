"""The parsers of images: tars, compressed blobs, documents, archives, and names."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import zstandard

from faults.odd_tars import CASES
from rechunk_podman.errors import RechunkError
from rechunk_podman.explain.inspect import describe
from rechunk_podman.oci import reference
from rechunk_podman.oci.artifact import with_referrer
from rechunk_podman.oci.documents import image_record, parse_docker_manifest, parse_index
from rechunk_podman.oci.read.decompress import GzipReader, ZstdReader, zstd_frames
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.read.tar import members
from rechunk_podman.oci.sparse import parse_sparse
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.validate.tar import check_tar
from rechunk_podman.registry.documents import choose_platform
from rechunk_podman.rootfs.acl import inherited
from support.fuzzing import Parser
from support.oci_material import CONFIG, LAYER, MANIFEST, Layout, archive_of, make_tar, member

DIGEST = "sha256:" + "0" * 64
CONFIG_DOCUMENT = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "config": {
        "User": "a",
        "Env": ["A=B"],
        "Cmd": ["x"],
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD"]},
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "x", "comment": "c", "empty_layer": False}],
}
MANIFEST_DOCUMENT = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"mediaType": CONFIG, "digest": DIGEST, "size": 3},
    "layers": [{"mediaType": LAYER, "digest": DIGEST, "size": 1, "annotations": {"a": "b"}}],
    "annotations": {"org.opencontainers.image.title": "x"},
}
INDEX_DOCUMENT = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": MANIFEST,
            "digest": DIGEST,
            "size": 3,
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v8"},
            "annotations": {"org.opencontainers.image.ref.name": "x"},
        }
    ],
}
INSPECTED = {
    "Id": "0" * 64,
    "Architecture": "amd64",
    "Os": "linux",
    "Created": "2024-01-01T00:00:00.5+01:00",
    "Config": CONFIG_DOCUMENT["config"],
    "RootFS": {"Type": "layers", "Layers": [DIGEST]},
    "Annotations": {"a": "b"},
    "History": CONFIG_DOCUMENT["history"],
}
"""The config in an answer of `podman inspect`."""


def documents() -> Sequence[bytes]:
    """Return a config, a manifest, an index and an answer of `podman inspect`."""
    found = (CONFIG_DOCUMENT, MANIFEST_DOCUMENT, INDEX_DOCUMENT, [INSPECTED])
    return [json.dumps(one).encode() for one in found]


CONFIG_BYTES, MANIFEST_BYTES, *_ = documents()


def _members(data: bytes) -> None:
    for _, content in members(io.BytesIO(data), "layer"):
        if content is not None:
            content.sha256()


def _gzip(data: bytes) -> None:
    reader = io.BufferedReader(GzipReader(io.BytesIO(data), "blob"))
    while reader.read(1 << 16):
        pass


def _zstd(data: bytes) -> None:
    zstd_frames(io.BytesIO(data), len(data), "blob")
    reader = io.BufferedReader(ZstdReader(io.BytesIO(data), "blob"))
    while reader.read(1 << 16):
        pass


def _config(data: bytes) -> None:
    record = image_record("image", None, data)
    describe(record)
    json.dumps(record.config.config).encode()


def _index(data: bytes) -> None:
    parse_index(data, "index")
    choose_platform(data, "index", "linux/amd64")


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.tar")
        path.write_bytes(data)
        for name in (f"oci-archive:{path}", f"docker-archive:{path}", str(path)):
            with suppress(RechunkError):
                validate(name)
            with suppress(RechunkError), open_image(name) as image:
                read_tree(image)


def _references(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for parse in (reference.parse, reference.Target.parse, reference.Pinned.parse):
        with suppress(RechunkError):
            parse(text)
    with suppress(RechunkError):
        reference.normalised_tag(text)


def _acl(data: bytes) -> None:
    inherited(data, 0o750)


def _archives() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder, "image")).layer(PLAIN).layer(PLAIN, gzip.compress(PLAIN, mtime=0), LAYER)
        config = json.dumps({**CONFIG_DOCUMENT, "rootfs": layout.config["rootfs"]}).encode()
        listed = [{"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["l.tar", "l.tar"]}]
        files = {"config.json": config, "l.tar": PLAIN, "manifest.json": json.dumps(listed).encode()}
        docker = make_tar([member(name, data=data) for name, data in files.items()])
        return [archive_of(layout.finish(), Path(folder, "a.tar")).read_bytes(), docker]


TARS = [tar for layers in CASES.values() for tar in layers if len(tar) < 20_000]
PLAIN = make_tar([member("a", data=b"a" * 2000), member("b")])
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 7, number) for tag, number in ((1, -1 & 0xFFFFFFFF), (2, 1000), (16, 0), (32, 0))
)

ARTIFACT = json.dumps(
    {**MANIFEST_DOCUMENT, "artifactType": "application/vnd.rechunk-podman.report.v1"}
).encode()

PARSERS: dict[str, Parser] = {
    "tar": Parser(_members, TARS, 512),
    "tar headers": Parser(lambda data: check_tar(io.BytesIO(data), "layer"), TARS, 512),
    "gzip": Parser(_gzip, [gzip.compress(PLAIN, mtime=0)]),
    "zstd": Parser(_zstd, [zstandard.compress(PLAIN)]),
    "config": Parser(_config, documents()),
    "manifest": Parser(lambda data: image_record("image", data, CONFIG_BYTES), documents()),
    "index": Parser(_index, documents()),
    "referrers": Parser(
        lambda data: with_referrer(data, ARTIFACT, "the list"),
        [b'{"schemaVersion": 2, "manifests": [{"digest": "%s"}]}' % DIGEST.encode()],
    ),
    "docker manifest": Parser(
        lambda data: parse_docker_manifest(data, "archive"),
        [b'[{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["x"]}]'],
    ),
    "sparse": Parser(
        lambda data: parse_sparse(data, "sparse"),
        [b'{"version": 1, "elsewhere": ["%s"]}' % DIGEST.encode()],
    ),
    "archives": Parser(_archive, _archives()),
    "references": Parser(
        _references, [b"quay.io:443/a-b/c_d/e.f:tag-1@" + DIGEST.encode(), b"localhost/x", b"0123456789ab"]
    ),
    "acl": Parser(_acl, [ACL]),
}
