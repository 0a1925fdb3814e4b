"""Images in layouts and archives of other tools: found by name, by platform, among attestations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.errors import MissingImageError, RechunkError, UsageError
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.validate.image import validate
from support.oci_material import CONFIG, INDEX, LAYER, MANIFEST, Layout, archive_of, make_tar, member, sha256

NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"


class Several(Layout):
    """A layout of several images, each with one file that has its name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.index["manifests"] = []
        self.docker: list[dict[str, Any]] = []

    def image(self, file: str, architecture: str = "amd64", **entry: Any) -> dict[str, Any]:
        tar = make_tar([member(file)])
        config = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]},
        }
        parts = {
            "config": {"mediaType": CONFIG, **self.blob(json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **self.blob(tar)}],
        }
        self.docker.append(
            {
                "Config": "blobs/" + parts["config"]["digest"].replace(":", "/"),
                "RepoTags": [entry.get("annotations", {}).get(NAME, file).removeprefix("docker.io/library/")],
                "Layers": ["blobs/" + sha256(tar).replace(":", "/")],
            }
        )
        return self.manifest_of(parts, **entry)

    def manifest_of(self, parts: dict[str, Any], **entry: Any) -> dict[str, Any]:
        data = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **parts}).encode()
        found = {"mediaType": MANIFEST, **self.blob(data), **entry}
        self.index["manifests"].append(found)
        return found

    def attestation(self, of: dict[str, Any]) -> None:
        """Return an attestation as BuildKit attaches it: a manifest whose layer is an in-toto statement."""
        statement = self.blob(b'{"_type": "https://in-toto.io/Statement/v0.1"}')
        config = {
            "architecture": "unknown",
            "os": "unknown",
            "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]},
        }
        self.manifest_of(
            {
                "config": {"mediaType": CONFIG, **self.blob(json.dumps(config).encode())},
                "layers": [{"mediaType": "application/vnd.in-toto+json", **statement}],
            },
            platform={"architecture": "unknown", "os": "unknown"},
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": of["digest"],
            },
        )

    def sbom(self, **changes: Any) -> None:
        """An artifact as ORAS writes it: an empty config, and a blob of its own type."""
        self.manifest_of(
            {
                "artifactType": "application/spdx+json",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", **self.blob(b"{}")},
                "layers": [{"mediaType": "application/spdx+json", **self.blob(b'{"spdxVersion": "2"}')}],
                **changes,
            }
        )

    def done(self) -> Path:
        self.write("index.json", self.index)
        return self.path

    def nested(self) -> Path:
        """An index of the images in index.json, as `skopeo copy --all` and BuildKit write it."""
        inner = {"mediaType": INDEX, **self.blob(json.dumps({**self.index, "mediaType": INDEX}).encode())}
        self.write("index.json", {"schemaVersion": 2, "manifests": [inner]})
        return self.path


@pytest.fixture
def several(tmp_path: Path) -> Several:
    return Several(tmp_path / "image")


def file_in(reference: Any, platform: str | None = None) -> str:
    with open_image(reference, platform) as image, image.layer(0) as stream:
        return stream.read(100).rstrip(b"\0").decode()


def saved(several: Several, tmp_path: Path) -> Path:
    """An archive of `docker save`: index.json and manifest.json."""
    several.done()
    several.write("manifest.json", several.docker)
    return archive_of(several.path, tmp_path / "saved.tar")


def test_docker_save_by_full_name(several, tmp_path):
    for name in ("alpine", "busybox"):
        several.image(name, annotations={NAME: f"docker.io/library/{name}:latest", REF: "latest"})
    archive = saved(several, tmp_path)
    for tag in ("busybox:latest", "busybox", "docker.io/library/busybox:latest"):
        assert file_in(f"{archive}:{tag}") == "busybox"
        assert file_in(f"oci-archive:{archive}:{tag}") == "busybox"
        assert file_in(f"docker-archive:{archive}:{tag}") == "busybox"
    with pytest.raises(UsageError, match="holds 2 images latest") as caught:
        open_image(f"{archive}:latest")
    assert "docker.io/library/alpine:latest, docker.io/library/busybox:latest" in caught.value.context[0]
    validate(archive, strict=False).check()


def test_docker_save_of_one_image_with_two_names(several, tmp_path):
    entry = several.image("a", annotations={NAME: "docker.io/library/a:1", REF: "1"})
    several.index["manifests"].append({**entry, "annotations": {NAME: "docker.io/library/a:2", REF: "2"}})
    several.docker[0]["RepoTags"] = ["a:1", "a:2"]
    archive = saved(several, tmp_path)
    assert [file_in(f"{archive}{tag}") for tag in ("", ":a:1", ":a:2", ":2")] == ["a"] * 4


def test_names_that_only_manifest_json_has(several, tmp_path):
    for name in ("alpine", "busybox"):
        several.image(f"{name}:latest", annotations={REF: "latest"})
    archive = saved(several, tmp_path)
    assert file_in(f"{archive}:busybox") == "busybox:latest"
    with pytest.raises(UsageError, match="holds no image other"):
        open_image(f"{archive}:other")


def test_attestations_are_no_images_to_choose_from(several):
    for name in ("a", "b"):
        several.attestation(several.image(name, annotations={REF: name}))
    with pytest.raises(UsageError, match="holds 2 images") as caught:
        open_image(several.done())
    assert caught.value.context == ("it holds: a, b",)


@pytest.mark.parametrize("nested", [False, True])
def test_an_image_with_attestations_and_an_sbom(several, nested):
    several.attestation(
        several.image("a", platform={"architecture": "arm64", "os": "linux"}, architecture="arm64")
    )
    several.sbom()
    path = several.nested() if nested else several.done()
    assert file_in(path, "arm64") == "a"
    report = validate(path).check()
    assert len(report.images) == 1
    assert report.problems == []


def test_platforms_that_only_configs_name(several):
    for architecture in ("amd64", "arm64", "s390x"):
        several.image(architecture, architecture)
    several.sbom(artifactType="application/x")
    path = several.nested()
    validate(path).check()
    for architecture in ("amd64", "arm64", "s390x"):
        assert file_in(path, f"linux/{architecture}") == architecture
    with pytest.raises(MissingImageError, match="no image for linux/riscv64"):
        open_image(path, "riscv64")


def test_one_image_of_another_platform(several):
    several.image("a", "arm64")
    path = several.done()
    assert file_in(path) == file_in(path, "arm64") == "a"
    with pytest.raises(MissingImageError, match="no image for linux/s390x"):
        open_image(path, "s390x")


def test_an_index_some_of_whose_images_are_elsewhere(several):
    """docker and containerd keep an index whole, and only the images of one platform."""
    several.image("here", "amd64")
    gone = several.image("gone", "arm64")
    several.file(gone["digest"]).unlink()
    assert file_in(several.nested(), "amd64") == "here"


def test_an_artifact_is_no_image(several):
    several.sbom()
    with pytest.raises(UsageError, match="an artifact, and no image"):
        open_image(several.done())
    validate(several.path).check()
    several.file(several.blob(b'{"spdxVersion": "2"}')["digest"]).write_bytes(b"changed")
    with pytest.raises(RechunkError, match="not sound"):
        validate(several.path, strict=False).check()


def test_a_manifest_of_a_kind_that_nobody_knows(several):
    several.image("a")
    several.index["manifests"].append({"mediaType": "application/vnd.example+json", **several.blob(b"{}")})
    path = several.done()
    assert file_in(path) == "a"
    assert validate(path, strict=False).check().warnings
