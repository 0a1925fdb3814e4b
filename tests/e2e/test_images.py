"""Each test image through `build`: the same files, in more layers, that run."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from images import oddities
from rechunk_podman.oci.validate.image import validate
from support import compare, tools

if TYPE_CHECKING:
    from conftest import Chunked

#: A command that answers in a container of each image, and its answer.
ANSWERS = {
    "debian": (("python3", "-c", "import ssl, os; print(os.stat('/etc').st_mode)"), "16877\n"),
    "rpm": (("perl", "-MPOSIX", "-e", "print POSIX::floor(42.5)"), "42"),
}


def test_validates(chunked: Chunked) -> None:
    """Every digest, size and diff_id is what it says, and storage, podman and bootc would take the layers."""
    assert validate(f"oci-archive:{chunked.archive}").check().errors == []


def test_verify_finds_no_difference(storage: tools.Storage, chunked: Chunked) -> None:
    with storage.mounted(chunked.source) as root:
        done = storage.rechunk("verify", root, f"oci-archive:{chunked.archive}", check=False)
    assert done.code == 0, done.out + done.err


def test_mounted_result_is_the_source(storage: tools.Storage, chunked: Chunked) -> None:
    """containers-storage merges the layers: the last layer's directory wins, with its mode and xattrs."""
    with storage.mounted(chunked.source) as before, storage.mounted(chunked.result) as after:
        assert compare.differences(before, after) == []


def test_runs(storage: tools.Storage, chunked: Chunked) -> None:
    if chunked.kind not in ANSWERS:
        pytest.skip("this image holds no program")
    command, answer = ANSWERS[chunked.kind]
    assert storage.container(chunked.result, *command).out == answer


def test_config_survives(storage: tools.Storage, chunked: Chunked) -> None:
    before, after = storage.inspect(chunked.source), storage.inspect(chunked.result)
    labels = after["Config"].get("Labels") or {}
    kept = {key: value for key, value in labels.items() if not key.startswith("org.rechunk.")}
    assert kept == before["Config"]["Labels"]
    for document in (before, after):
        document["Config"].pop("Labels")
    assert after["Config"] == before["Config"]
    for key in ("Architecture", "Os", "Created"):
        assert after[key] == before[key]


def test_size_grows_by_at_most_a_hundredth(chunked: Chunked, tmp_path: Path) -> None:
    """The bytes of all layers beside those of the one layer that they came from."""
    if chunked.kind == "oddities":
        pytest.skip("a few files whose directories count for more than they do")
    tools.run("tar", "--extract", f"--file={chunked.archive}", f"--directory={tmp_path}")
    _, manifest = _manifest(tmp_path)
    assert 32 <= len(manifest["layers"]) <= 64
    assert (
        sum(_unpacked_size(tmp_path, layer) for layer in manifest["layers"])
        <= chunked.tar.stat().st_size * 1.01
    )


def test_other_outputs_hold_the_same_layers(
    storage: tools.Storage, debian_image: str, tmp_path: Path
) -> None:
    """oci: and docker-archive:, uncompressed, gzip and zstd."""
    found = []
    with storage.mounted(debian_image) as root:
        for number, (output, compression) in enumerate(
            (("oci", "gzip"), ("docker-archive", "none"), ("oci", "zstd"))
        ):
            target = f"{output}:{tmp_path}/{number}"
            options = ("--max-layers", "12", "--compression", compression, "--tag", "localhost/other:latest")
            storage.rechunk("build", "--rootfs", root, "--output", target, *options)
            validate(target).check()
            config = tools.run("skopeo", "--insecure-policy", "inspect", "--config", target)
            found.append(json.loads(config.out)["rootfs"]["diff_ids"])
    assert 6 <= len(found[0]) <= 12
    assert found[0] == found[1] == found[2]


def test_standard_output_is_an_archive(storage: tools.Storage, oddities_image: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with storage.mounted(oddities_image) as root:
        storage.run("sh", "-c", f'"$@" > {archive}', "sh", *tools.RECHUNK, "build", "--rootfs", root)
    validate(f"oci-archive:{archive}").check()


def test_plan_names_the_packages(storage: tools.Storage, rpm_image: str, debian_image: str) -> None:
    """Nearly all bytes belong to a package, and the sources of the database are the components."""
    for name, prefix, expected in ((rpm_image, "rpm/", "rpm/perl"), (debian_image, "dpkg/", "dpkg/openssl")):
        with storage.mounted(name) as root:
            done = storage.rechunk("build", "--rootfs", root, "--plan-only", "--json")
        text = json.dumps(json.loads(done.out))
        assert expected in text
        assert text.count(prefix) > 60


def test_closed_directories_stay_closed(storage: tools.Storage, oddities_image: str, tmp_path: Path) -> None:
    """Content of one closed directory in different layers, each file alone."""
    archive = tmp_path / "archive"
    with storage.mounted(oddities_image) as root:
        storage.rechunk(
            "build", "--rootfs", root, "--output", f"oci-archive:{archive}", "--max-layers", "120"
        )
    storage.copy(f"oci-archive:{archive}", "containers-storage:localhost/closed:latest")
    with storage.mounted("localhost/closed:latest") as root:
        assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o750
        assert stat.S_IMODE((root / "closed/one").stat().st_mode) == 0o700
        assert os.getxattr(root / "xattrs/acl-directory", "system.posix_acl_default") == oddities.ACL
        assert os.getxattr(root / "xattrs", "user.on-a-directory") == b"yes"


def _manifest(layout: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())
    return json.loads(_blob(layout, manifest["config"]["digest"]).read_text()), manifest


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _unpacked_size(layout: Path, layer: dict[str, Any]) -> int:
    blob = _blob(layout, layer["digest"])
    for suffix, tool in (("+gzip", "gzip"), ("+zstd", "zstd")):
        if layer["mediaType"].endswith(suffix):
            return int(tools.run("sh", "-c", f"{tool} -dc < '{blob}' | wc -c").out)
    return blob.stat().st_size
