"""The reuse of blobs of the previous image, and the record in a sparse layout."""

from __future__ import annotations

import json

import pytest

from rechunk_podman.build.image_ledger import expected_layers
from rechunk_podman.errors import ImageError
from rechunk_podman.model import ComponentId, Plan, PlannedLayer
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.reuse import acceptable, reusable
from rechunk_podman.oci.sparse import parse_sparse, sparse_document
from rechunk_podman.oci.spec import Descriptor, DiffId

ENCRYPTED = spec.MEDIA_LAYER_GZIP + "+encrypted"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def record_of(*media_types: str, annotations: dict[str, str] | None = None):
    """An image with a layer of each type: diff_ids count from 1, blobs from 101."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(1 + n) for n in range(len(media_types))]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": spec.MEDIA_MANIFEST,
        "config": {"mediaType": spec.MEDIA_CONFIG, "digest": digest(99), "size": 1},
        "layers": [
            {"mediaType": kind, "digest": digest(101 + n), "size": 1000 + n, "annotations": annotations or {}}
            for n, kind in enumerate(media_types)
        ],
    }
    return image_record("it", json.dumps(manifest).encode(), json.dumps(config).encode())


def test_a_layer_keeps_its_descriptor():
    found = reusable(record_of(spec.MEDIA_LAYER_ZSTD, annotations={"a": "b"}), acceptable("zstd"))
    assert found == {digest(1): Descriptor(spec.MEDIA_LAYER_ZSTD, digest(101), 1000, {"a": "b"})}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (spec.DOCKER_LAYER_GZIP, spec.MEDIA_LAYER_GZIP),
        (spec.DOCKER_LAYER + ".zstd", spec.MEDIA_LAYER_ZSTD),
        (spec.MEDIA_LAYER_GZIP, spec.MEDIA_LAYER_GZIP),
    ],
)
def test_types_of_docker_get_their_oci_names(old, new):
    assert [found.media_type for found in reusable(record_of(old), acceptable("zstd")).values()] == [new]


@pytest.mark.parametrize(
    "kind", [ENCRYPTED, FOREIGN, NONDISTRIBUTABLE, spec.MEDIA_LAYER, spec.DOCKER_LAYER, "text/plain"]
)
def test_what_is_never_reused(kind):
    assert reusable(record_of(kind), acceptable("zstd")) == {}
    assert list(reusable(record_of(kind, spec.MEDIA_LAYER_GZIP), acceptable("gzip"))) == [digest(2)]


@pytest.mark.parametrize(
    ("compression", "docker", "taken"),
    [
        ("none", False, []),
        ("gzip", False, [2]),
        ("zstd", False, [1, 2]),
        ("gzip", True, [2]),
        ("zstd", True, [2]),
    ],
)
def test_no_zstd_for_docker_or_where_gzip_was_asked_for(compression, docker, taken):
    record = record_of(spec.MEDIA_LAYER_ZSTD, spec.MEDIA_LAYER_GZIP)
    assert list(reusable(record, acceptable(compression, docker=docker))) == [digest(n) for n in taken]


def test_blobs_that_are_lost_are_not_reused():
    record = record_of(spec.MEDIA_LAYER_ZSTD, spec.MEDIA_LAYER_ZSTD)
    assert list(reusable(record, acceptable("zstd"), without=[digest(101)])) == [digest(2)]


def test_blobs_of_many_frames_are_not_reused():
    chunked = {"io.github.containers.zstd-chunked.manifest-position": "1:2:3:4"}
    assert reusable(record_of(spec.MEDIA_LAYER_ZSTD, annotations=chunked), acceptable("zstd")) == {}


def test_a_config_without_manifest_has_nothing_to_reuse():
    record = record_of(spec.MEDIA_LAYER_ZSTD)
    assert reusable(image_record("it", None, record.config_bytes), acceptable("zstd")) == {}


def test_a_sparse_layout_says_what_and_where():
    data = sparse_document([digest(2), digest(1), digest(2)], "docker://r/i@" + digest(3))
    assert parse_sparse(data, "it") == ({digest(1), digest(2)}, "docker://r/i@" + digest(3))
    assert parse_sparse(sparse_document([], None), "it") == (frozenset(), None)
    for text in (b"[]", b'{"version":2,"elsewhere":[]}', b'{"version":1}', b'{"version":1,"elsewhere":[1]}'):
        with pytest.raises(ImageError):
            parse_sparse(text, "it")


def test_a_layer_is_expected_by_the_prefix_that_the_plan_has_for_it():
    known = [digest(n << 200) for n in (1, 2)]
    prefixes = [bytes.fromhex(digest(n << 200).removeprefix("sha256:"))[:8] for n in (1, 2, 3)]
    layers = [PlannedLayer((ComponentId("test", "a"),), prefix=prefix) for prefix in (*prefixes, b"")]
    assert expected_layers(Plan(tuple(layers)), known) == [*known, None, None]
    assert expected_layers(Plan(tuple(layers)), []) == [None] * 4
    assert expected_layers(Plan(tuple(layers)), [*known, DiffId("sha256:not checked")])[-1] is None
