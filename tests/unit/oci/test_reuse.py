"""Which blobs of the previous image may be named again, and what a sparse layout says of itself."""

from __future__ import annotations

import json

import pytest

from rechunk_podman.build.image_ledger import expected_layers
from rechunk_podman.errors import ImageError
from rechunk_podman.model import Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.reuse import acceptable, reusable
from rechunk_podman.oci.sparse import parse_sparse, sparse_document
from rechunk_podman.oci.spec import Descriptor
from rechunk_podman.planning.ledger import Ledger

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


def component(name: str, content: int = 0) -> Component:
    return Component(ComponentId("test", name), 10, bytes([content]) * 8)


def planned(*names: str) -> PlannedLayer:
    return PlannedLayer(tuple(ComponentId("test", name) for name in names))


def test_layers_are_expected_where_nothing_changed():
    """Only with the same components, unchanged, and where the diff_id is known from the image itself."""
    old = {c.id: c for c in map(component, "abcd")}
    before = Ledger.advance(
        None,
        old.values(),
        Plan((planned("a", "b"), planned("c"), planned("d"))),
        [digest(n << 200) for n in (1, 2, 3)],
        date=1,
    )
    new = {**old, ComponentId("test", "c"): component("c", 1)}
    plan = Plan((planned("b", "a"), planned("c"), planned("d")))
    known = [digest(n << 200) for n in (1, 2)]
    assert expected_layers(plan, new, [before, None], known) == [digest(1 << 200), None, None]
    assert expected_layers(plan, old, [None, before], known)[1] == digest(2 << 200)
    assert expected_layers(Plan((planned("a"), planned("b"))), old, [before], known) == [None, None]
    assert expected_layers(plan, old, [], known) == [None, None, None]
