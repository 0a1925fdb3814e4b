"""Other programs read what `build` writes: podman, skopeo, buildah, umoci, GNU tar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rechunk_podman.oci.validate.image import validate
from support import compare, tools
from support.needs import require

if TYPE_CHECKING:
    from conftest import Chunked


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_load(storage: tools.Storage, oddities_image: str, tmp_path: Path, form: str) -> None:
    """The archive carries its name; loaded, it holds the same files."""
    name = f"localhost/loaded-{form}:one"
    archive = tmp_path / "archive"
    with storage.mounted(oddities_image) as root:
        storage.rechunk("build", "--rootfs", root, "--output", f"{form}:{archive}", "--tag", name)
        assert name in storage.run("podman", "load", "--input", archive).out
        with storage.mounted(name) as loaded:
            assert compare.differences(root, loaded) == []


def test_skopeo_copies_to_docker_archive(storage: tools.Storage, chunked: Chunked, tmp_path: Path) -> None:
    target = f"docker-archive:{tmp_path}/archive"
    storage.copy(f"oci-archive:{chunked.archive}", f"{target}:localhost/copied:latest")
    validate(target, strict=False).check()
    diff_ids = []
    for transport in (target, f"oci-archive:{chunked.archive}"):
        config = tools.run("skopeo", "--insecure-policy", "inspect", "--config", transport)
        diff_ids.append(json.loads(config.out)["rootfs"]["diff_ids"])
    assert diff_ids[0] == diff_ids[1]


def test_skopeo_keeps_digests(storage: tools.Storage, chunked: Chunked, tmp_path: Path) -> None:
    """Manifest and blobs travel as they are."""
    target = tmp_path / "layout"
    source = f"oci-archive:{chunked.archive}"
    tools.run("skopeo", "--insecure-policy", "copy", "--preserve-digests", source, f"oci:{target}:copied")
    digests = [
        tools.run("skopeo", "inspect", "--format", "{{.Digest}}", "--no-tags", reference, check=False).out
        or tools.run("skopeo", "inspect", "--format", "{{.Digest}}", reference).out
        for reference in (source, f"oci:{target}:copied")
    ]
    assert digests[0] == digests[1]
    assert digests[0].startswith("sha256:")


def test_umoci_unpacks(storage: tools.Storage, chunked: Chunked) -> None:
    """The same paths, content, owners and links; of directories umoci keeps the oldest layer's metadata."""
    require("umoci")
    with storage.scratch() as folder, storage.mounted(chunked.source) as root:
        storage.copy(f"oci-archive:{chunked.archive}", f"oci:{folder}/layout:latest")
        tools.run("umoci", "unpack", "--image", f"{folder}/layout:latest", folder / "bundle")
        before, after = compare.look(root), compare.look(folder / "bundle/rootfs")
    assert before.keys() == after.keys()
    for path, seen in before.items():
        assert (seen.content, seen.owner, seen.group) == (
            after[path].content,
            after[path].owner,
            after[path].group,
        )


def test_tar_extracts_layer_over_layer(storage: tools.Storage, oddities_image: str, tmp_path: Path) -> None:
    """GNU tar, which knows nothing of images, gets everything back, with modes and xattrs."""
    layout, target = tmp_path / "layout", tmp_path / "root"
    target.mkdir()
    with storage.mounted(oddities_image) as root:
        storage.rechunk("build", "--rootfs", root, "--output", f"oci:{layout}", "--compression", "none")
        index = json.loads((layout / "index.json").read_text())
        blobs = layout / "blobs/sha256"
        manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
        for layer in manifest["layers"]:
            options = ("--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*")
            tools.run(
                "tar", "--extract", *options, f"--file={blobs / layer['digest'][7:]}", f"--directory={target}"
            )
        assert compare.differences(root, target) == []


def test_buildah_builds_on_top(storage: tools.Storage, chunked: Chunked, tmp_path: Path) -> None:
    """A derived image holds the layers of its base, in front, untouched."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "Containerfile").write_text(
        f"FROM {chunked.result}\nCOPY file /opt/mine/file\nLABEL mine=1\n"
    )
    storage.run("buildah", "build", "--layers=false", "--tag", "localhost/derived:latest", ".", cwd=tmp_path)
    base = storage.inspect(chunked.result)["RootFS"]["Layers"]
    derived = storage.inspect("localhost/derived:latest")["RootFS"]["Layers"]
    assert derived[: len(base)] == base
    assert len(derived) == len(base) + 1
