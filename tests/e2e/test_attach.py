"""`--attach`: reports beside images in a real registry, found by the digest of the image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rechunk_podman.oci.artifact import REPORT
from support import tools
from support.documents import check_document
from support.front import front_of
from support.pushing import digest_of, document, push

INDEX = "application/vnd.oci.image.index.v1+json"
PREVIOUS = "org.rechunk.previous"


def tag_of(digest: str) -> str:
    """The tag of the list of what refers to a manifest."""
    return digest.replace(":", "-")


def attached(repository: str, digest: str) -> list[dict[str, Any]]:
    """The entries of the list under the tag of an image, each as the list and the manifest have it."""
    index = json.loads(document(f"{repository}:{tag_of(digest)}"))
    assert index["mediaType"] == INDEX
    entries: list[dict[str, Any]] = index["manifests"]
    for entry in entries:
        manifest = json.loads(document(f"{repository}@{entry['digest']}"))
        assert entry["artifactType"] == manifest["artifactType"] == REPORT
        assert entry["annotations"] == manifest["annotations"]
        assert manifest["subject"]["digest"] == digest
        assert manifest["subject"]["size"] == len(document(f"{repository}@{digest}"))
    return entries


def files(folder: Path, repository: str, digest: str) -> dict[str, str]:
    """Name -> text of the files of an artifact, as skopeo fetches them."""
    target = folder / digest.rpartition(":")[2]
    command = ("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests")
    tools.run(*command, "--src-tls-verify=false", f"docker://{repository}@{digest}", f"oci:{target}")
    manifest = json.loads((target / "blobs/sha256" / digest.rpartition(":")[2]).read_text())
    return {
        layer["annotations"]["org.opencontainers.image.title"]: (
            target / "blobs/sha256" / layer["digest"].rpartition(":")[2]
        ).read_text()
        for layer in manifest["layers"]
    }


def test_reports_of_a_series(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The first image has a description, the next a diff, a page and a changelog, in both repositories."""
    one, two = f"{registry.address}/attach/one", f"{registry.address}/attach/two"
    first = push(storage, small(0), f"--push=docker://{one}:1", "--attach").out.strip()
    (entry,) = attached(one, first)
    assert PREVIOUS not in entry["annotations"]
    (text,) = files(tmp_path, one, entry["digest"]).values()
    assert check_document("inspect", text)["digest"] == first

    tags = (f"--push=docker://{one}:2", f"--push=docker://{one}:3", f"--push=docker://{two}:2")
    words = (*tags, f"--previous=docker://{one}:1", "--attach", "--json")
    told = check_document("push", push(storage, small(1), *words).out)
    second = told["digest"]
    found = {repository: attached(repository, second) for repository in (one, two)}
    assert {len(entries) for entries in found.values()} == {1}
    assert told["attached"] == [f"docker://{name}@{entries[0]['digest']}" for name, entries in found.items()]
    assert found[one][0]["annotations"][PREVIOUS] == first
    report = files(tmp_path, one, found[one][0]["digest"])
    assert list(report) == ["diff.json", "diff.html", "changelog.md"]
    diff = check_document("diff", report["diff.json"])
    real = storage.rechunk(
        "diff", f"docker://{one}@{first}", f"docker://{one}@{second}", "--tls-verify=false", "--json"
    )
    for key in ("download", "causes", "layers", "components", "verdict"):
        assert diff[key] == json.loads(real.out)[key]
    assert (diff["old"]["digest"], diff["new"]["digest"]) == (first, second)
    assert report["diff.html"].startswith("<!doctype html>")
    assert "Files whose metadata alone changed" not in report["diff.html"]  # no layer was read for it
    assert "Download of an update: 1.1 MB of 8.4 MB, 1 of 9 layers." in report["changelog.md"]

    again = push(storage, small(1), f"--push=docker://{one}:2", "--attach")
    assert f"no report is attached: {second} is the image before it, too" in again.err
    assert len(attached(one, second)) == 1


def test_tags_of_lists_are_no_images(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """--previous auto, `previous` and `history` go past them, and clients pull the image as before."""
    repository = f"{registry.address}/attach/tags"
    first = push(storage, small(0), f"--push=docker://{repository}:20260101", "--attach").out.strip()
    assert (
        tag_of(first) in tools.run("skopeo", "list-tags", "--tls-verify=false", f"docker://{repository}").out
    )
    second = push(storage, small(1), f"--push=docker://{repository}:20260108", "--previous=auto", "--attach")
    assert f"previous image: docker://{repository}@{first}" in second.err
    words = (f"docker://{repository}", "--tls-verify=false")
    found = storage.rechunk("previous", *words, "--pattern", ".", "--reference").out
    assert found == f"docker://{repository}:20260108\n"
    file = tmp_path / "history.json.xz"
    done = storage.rechunk("history", *words, "--pattern", ".", "-o", file)
    assert "sha256-" not in done.err
    assert storage.rechunk("simulate", file, "--json").code == 0
    storage.rechunk("verify", small(1), f"docker://{repository}:20260108", "--tls-verify=false")


def test_a_report_that_cannot_be_attached(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The image is pushed, and the exit code is 0; a warning says how to attach the report later."""
    with front_of(registry.address) as front:
        repository = f"{front.address}/attach/denied"
        first = push(storage, small(0), f"--push=docker://{repository}:1").out.strip()
        manifests = "/v2/attach/denied/manifests/sha256"
        front.fault = lambda method, path: 403 if method == "PUT" and path.startswith(manifests) else None
        file = tmp_path / "digest"
        words = (f"--push=docker://{repository}:1", f"--digestfile={file}", "--attach", "--json")
        done = push(storage, small(1), *words)
        told = check_document("push", done.out)
        assert told["digest"] == file.read_text() == digest_of(f"{repository}:1")
        assert told["attached"] == []
        new = f"docker://{repository}@{told['digest']}"
        assert f"{new} is pushed, but no report is attached to it" in done.err
        later = ("diff", f"docker://{repository}@{first}", new, "--attach")
        assert f"to attach it later: rechunk-podman {' '.join(later)}\n" in done.err
        failed = storage.rechunk(*later, "--tls-verify=false", check=False)
        assert failed.code == 1
        front.fault = lambda method, path: None
        done = storage.rechunk(*later, "--html", tmp_path / "page.html", "--tls-verify=false")
        assert f"attached to {new}: sha256:" in done.err
        (entry,) = attached(repository, told["digest"])
        report = files(tmp_path, f"{registry.address}/attach/denied", entry["digest"])
        assert "Files whose metadata alone changed" in report["diff.html"]
        assert report["diff.html"].count("<section") == (tmp_path / "page.html").read_text().count("<section")


def test_the_report_of_a_promotion(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """It describes the update of those who follow the tag, and is the same that the push attached."""
    repository = f"{registry.address}/attach/promote"
    stable = push(storage, small(0), f"--push=docker://{repository}:stable").out.strip()
    words = (f"--push=docker://{repository}:1", f"--previous=docker://{repository}:stable", "--attach")
    first = push(storage, small(1), *words).out.strip()
    words = (f"--push=docker://{repository}:2", f"--previous=docker://{repository}:1", "--attach")
    second = push(storage, small(2), *words).out.strip()
    assert len(attached(repository, second)) == 1
    promote = ("promote", f"docker://{repository}@{second}", "stable", "--attach", "--tls-verify=false")
    told = check_document("push", storage.rechunk(*promote, "--json").out)
    entries = attached(repository, second)
    assert [entry["annotations"][PREVIOUS] for entry in entries] == [first, stable]
    assert told["attached"] == [f"docker://{repository}@{entries[1]['digest']}"]
    assert digest_of(f"{repository}:stable") == second
    assert f"no report is attached: {second}" in storage.rechunk(*promote).err
    promote = ("promote", f"docker://{repository}@{first}", "older", "--attach", "--tls-verify=false")
    assert f"attached to docker://{repository}@{first}: sha256:" in storage.rechunk(*promote).err
    assert "inspect.json" in files(tmp_path, repository, attached(repository, first)[1]["digest"])


def test_calls_that_are_wrong(storage: tools.Storage, small: Callable[[int], str]) -> None:
    done = storage.rechunk("split", small(0), "-t", "localhost/x:1", "--attach", check=False)
    assert done.code == 2
    assert "--attach is for a push" in done.err
    done = storage.rechunk("diff", small(0), small(1), "--attach", check=False)
    assert done.code == 2
    assert "--attach is for images in registries" in done.err
