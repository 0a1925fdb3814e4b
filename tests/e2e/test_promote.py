"""More tags by digest, and one index over images of two platforms, in a real registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from support import tools
from support.documents import check_document
from support.needs import require


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layouts of the same files for two platforms."""
    folder = tmp_path_factory.mktemp("platforms")
    root = folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/motd").write_text("hello\n")
    found = {}
    for arch in ("amd64", "arm64"):
        found[arch] = folder / arch
        tools.run(
            *(*tools.RECHUNK, "build", "--rootfs", root, "--output", f"oci:{found[arch]}"),
            *("--compression=zstd", "--arch", arch, "--source-date-epoch=86400"),
        )
    return found


def copy(layout: Path, name: str) -> str:
    """Pushes a layout; its digest."""
    require("skopeo")
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
    tools.run(*command, "--dest-tls-verify=false", f"oci:{layout}", f"docker://{name}")
    return digest_of(name)


def raw(name: str) -> bytes:
    """The manifest or index of that name, verbatim."""
    return tools.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").out.encode()


def digest_of(name: str) -> str:
    """The digest of what a name stands for now."""
    return "sha256:" + hashlib.sha256(raw(name)).hexdigest()


def rechunk(*words: str, check: bool = True) -> tools.Done:
    """Runs a command without TLS."""
    return tools.run(*tools.RECHUNK, *words, "--tls-verify=false", check=check)


def test_promotion_keeps_the_digest(registry: tools.Registry, layouts: dict[str, Path]) -> None:
    """Of single images and of indexes; a tag that stood elsewhere is moved."""
    repository = f"{registry.address}/promote/image"
    old, digest = copy(layouts["arm64"], f"{repository}:stable"), copy(layouts["amd64"], f"{repository}:test")
    assert old != digest
    done = rechunk("promote", f"docker://{repository}@{digest}", "stable", "1.0")
    assert done.out.splitlines() == [f"docker://{repository}:{tag} {digest}" for tag in ("stable", "1.0")]
    assert digest_of(f"{repository}:stable") == digest_of(f"{repository}:1.0") == digest
    told = check_document("push", rechunk("promote", f"docker://{repository}@{digest}", "2.0", "--json").out)
    assert told == {"format": 1, "digest": digest, "pushed": [f"docker://{repository}:2.0"]}


@pytest.mark.parametrize(
    ("reference", "tag", "code", "what"),
    [
        ("docker://{registry}/promote/image:test", "a", 2, "not a digest reference"),
        ("docker://{registry}/promote/image", "a", 2, "not a digest reference"),
        ("docker://{registry}/promote/image:test@{digest}", "a", 2, "not a digest reference"),
        ("{registry}/promote/image@{digest}", "a", 2, "not a registry reference"),
        ("docker://{registry}/promote/image@{digest}", "a/b", 2, "not "),
        ("docker://{registry}/promote/image@{digest}", "a", 1, "cannot push"),
    ],
)
def test_what_cannot_be_promoted(
    registry: tools.Registry, reference: str, tag: str, code: int, what: str
) -> None:
    text = reference.format(registry=registry.address, digest="sha256:" + "0" * 64)
    done = rechunk("promote", text, tag, check=False)
    assert done.code == code
    assert f"error: {what}" in done.err
    assert done.out == ""


def test_an_index(registry: tools.Registry, layouts: dict[str, Path], tmp_path: Path) -> None:
    """An index takes images of its repository, of another and of a layout; a copy elsewhere is complete."""
    one, two = f"{registry.address}/index/one", f"{registry.address}/index/two"
    digests = {
        "amd64": copy(layouts["amd64"], f"{one}:amd64"),
        "arm64": copy(layouts["arm64"], f"{registry.address}/index/build:arm64"),
    }
    file = tmp_path / "digest"
    options = ["--digestfile", str(file), "--sign-by-digest-hint"]
    results = set()
    for second in (f"docker://{registry.address}/index/build:arm64", f"oci:{layouts['arm64']}"):
        words = ["index", f"docker://{one}:amd64", second, *options]
        done = rechunk(*words, f"--push=docker://{one}:multi", f"--push=docker://{two}:multi")
        results.add(done.out.strip())
        assert f"cosign sign {two}@{done.out.strip()}" in done.err
    assert results == {file.read_text(), digest_of(f"{one}:multi"), digest_of(f"{two}:multi")}
    told = check_document("push", rechunk(*words, f"--push=docker://{one}:multi", "--json").out)
    assert {told["digest"]} == results
    assert {image["platform"].removeprefix("linux/"): image["digest"] for image in told["images"]} == digests
    index = json.loads(raw(f"{two}:multi"))
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]} == digests
    for arch in digests:
        target = tmp_path / arch
        command = ["skopeo", "--insecure-policy", f"--override-arch={arch}", "copy", "--quiet"]
        tools.run(*command, "--src-tls-verify=false", f"docker://{two}:multi", f"oci:{target}")
        tools.run(*tools.RECHUNK, "validate", f"oci:{target}")
        tools.run(*tools.RECHUNK, "verify", f"oci:{layouts[arch]}", f"oci:{target}")
    moved = rechunk("promote", f"docker://{one}@{file.read_text()}", "latest")
    assert moved.out.strip().endswith(file.read_text())
    assert digest_of(f"{one}:latest") == file.read_text()


def test_two_images_for_one_platform(registry: tools.Registry, layouts: dict[str, Path]) -> None:
    name = f"{registry.address}/index/twice"
    copy(layouts["amd64"], f"{name}:1")
    same = f"oci:{layouts['amd64']}"
    done = rechunk("index", f"docker://{name}:1", same, f"--push=docker://{name}:multi", check=False)
    assert done.code == 2
    assert "error: two images for linux/amd64" in done.err
