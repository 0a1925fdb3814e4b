"""Artifacts that refer to an image, and the list of them that is kept under a tag."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from rechunk_podman.errors import ImageError
from rechunk_podman.oci.artifact import REPORT, File, artifact_of, referrers_tag, with_referrer
from rechunk_podman.oci.documents import is_artifact, parse_manifest
from rechunk_podman.oci.spec import Descriptor, Digest

SUBJECT = Descriptor("application/vnd.oci.image.manifest.v1+json", Digest("sha256:" + "a" * 64), 1234)
INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def artifact(text: str = "{}") -> Any:
    files = [File("diff.json", "application/json", text.encode()), File("a.md", "text/markdown", b"# a")]
    return artifact_of(files, SUBJECT, {"b": "2", "a": "1"})


def test_the_manifest_of_an_artifact():
    """manifest.md: an empty config, the files by their titles, the subject; the same bytes each time."""
    made = artifact("[]")
    document = json.loads(made.manifest)
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    }
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in document["layers"]]
    assert document["config"] == empty
    assert document["artifactType"] == REPORT
    assert document["subject"] == {"mediaType": SUBJECT.media_type, "digest": SUBJECT.digest, "size": 1234}
    assert titles == ["diff.json", "a.md"]
    assert [layer["mediaType"] for layer in document["layers"]] == ["application/json", "text/markdown"]
    assert document["annotations"] == {"a": "1", "b": "2"}
    assert {sha256(data) for data in made.blobs.values()} == set(made.blobs)
    assert {entry["digest"] for entry in (document["config"], *document["layers"])} == set(made.blobs)
    assert made.digest == sha256(made.manifest) == artifact("[]").digest != artifact("{}").digest
    assert is_artifact(parse_manifest(made.manifest, "it"))


def test_the_tag_of_a_subject():
    """The algorithm and the hex digits, which are cut as the specification says."""
    assert referrers_tag(Digest("sha256:" + "b" * 64)) == "sha256-" + "b" * 64
    assert referrers_tag(Digest("sha512:" + "b" * 128)) == "sha512-" + "b" * 64


def test_a_list_begins_and_grows():
    one, two = artifact("[1]"), artifact("[2]")
    first = with_referrer(None, one.manifest, "the list")
    assert first is not None
    assert json.loads(first) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": SUBJECT.media_type,
                "digest": one.digest,
                "size": len(one.manifest),
                "artifactType": REPORT,
                "annotations": {"a": "1", "b": "2"},
            }
        ],
    }
    second = with_referrer(first, two.manifest, "the list")
    assert second is not None
    assert [entry["digest"] for entry in json.loads(second)["manifests"]] == [one.digest, two.digest]
    assert json.loads(second)["manifests"][0] == json.loads(first)["manifests"][0]


def test_nothing_is_listed_twice():
    made = artifact()
    first = with_referrer(None, made.manifest, "the list")
    assert with_referrer(first, made.manifest, "the list") is None


def test_all_that_others_wrote_stays():
    """Fields that this program does not know, digests of other algorithms, annotations of the list."""
    other = {
        "mediaType": SUBJECT.media_type,
        "digest": "sha512:" + "c" * 128,
        "size": 5,
        "artifactType": "application/spdx+json",
        "data": "e30=",
        "platform": {"os": "linux", "architecture": "ü"},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other], "annotations": {"of": "others"}}
    merged = with_referrer(json.dumps(index).encode(), artifact().manifest, "the list")
    assert merged is not None
    document = json.loads(merged)
    assert document.pop("manifests")[0] == other
    assert document == {key: value for key, value in index.items() if key != "manifests"}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        '{"schemaVersion": 2, "manifests": {}}',
        '{"schemaVersion": 2, "manifests": ["x"]}',
        '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}',
    ],
)
def test_what_is_no_list_of_referrers(text: str):
    with pytest.raises(ImageError):
        with_referrer(text.encode(), artifact().manifest, "the list")
