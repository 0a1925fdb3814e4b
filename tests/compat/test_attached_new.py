"""Reports beside images, as oras and crane find them: by the referrers API of a registry, and by the tag.

The registry with that API is go-containerregistry's (0.20). It lists all that refers to an image on one page,
does not filter by type, and names as the type that of the artifact's config, which is the empty one.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images import forky
from images import storage as images_storage
from images.cache import MissingTool
from rechunk_podman.oci.artifact import REPORT, referrers_tag
from rechunk_podman.oci.spec import Digest
from support import tools
from support.documents import check_document
from support.needs import require, unavailable
from support.pushing import document, small_tar

#: What the commands of docs/pushing.md need for a registry without TLS.
PLAIN = {"oras": ("--plain-http",), "crane": (), "skopeo": ("--src-tls-verify=false",), "curl": ()}
REPOSITORY = "registry.example.com/v2/desktop"
IMAGE = "ghcr.io/example/desktop"


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of crane, oras and the registry."""
    require("skopeo", "curl")
    try:
        return forky.programs()
    except MissingTool as error:
        unavailable(f"{error} is not installed")


@contextmanager
def registry_with_api(program: Path, folder: Path) -> Iterator[tools.Registry]:
    """Runs the registry, and ends it."""
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen([program], stdout=subprocess.PIPE, stderr=output, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield tools.Registry(process.stdout.readline().strip(), log)
        finally:
            process.terminate()


@dataclass(frozen=True)
class Reported:
    """Two images, pushed one after the other with reports. artifacts: of each, by digest."""

    api: bool
    registry: tools.Registry
    repository: str
    images: tuple[str, str]
    artifacts: tuple[str, str]

    @property
    def tag(self) -> str:
        """The tag under which the list of artifacts of the second image is kept."""
        return referrers_tag(Digest(self.images[1]))


@pytest.fixture(scope="module", params=["api", "tag"])
def reported(
    request: pytest.FixtureRequest, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reported]:
    """A small image and its update, split from layouts into a registry with the referrers API, or without."""
    folder = tmp_path_factory.mktemp(str(request.param))
    api = request.param == "api"
    if not api:
        require("docker-registry")
    served = registry_with_api(programs / "registry", folder) if api else tools.loopback_registry(folder)
    with served as registry:
        repository = f"{registry.address}/example/desktop"
        told = []
        for number in (0, 1):
            tar = small_tar(folder / f"{number}.tar", number)
            layout = images_storage.oci_layout([tar], folder / f"layout-{number}")
            words = (
                f"--push=docker://{repository}:{number + 41}",
                "--tls-verify=false",
                "--attach",
                "--json",
            )
            previous = (f"--previous=docker://{repository}:41",) if number else ()
            told.append(tools.run(*tools.RECHUNK, "split", f"oci:{layout}", *words, *previous).out)
        documents = [check_document("push", text) for text in told]
        first, second = (found["digest"] for found in documents)
        artifacts = [found["attached"][0].rpartition("@")[2] for found in documents]
        yield Reported(api, registry, repository, (first, second), (artifacts[0], artifacts[1]))


def oras(programs: Path, *words: str, cwd: Path | None = None) -> str:
    """Run oras; return its standard output."""
    return tools.run(programs / "oras", *words, "--plain-http", cwd=cwd).out


def test_the_list_is_where_it_belongs(reported: Reported) -> None:
    """A registry with the API was asked, and has no tag; in the other there is one for each image."""
    listed = tools.run("skopeo", "list-tags", "--tls-verify=false", f"docker://{reported.repository}")
    lists = {tag for tag in json.loads(listed.out)["Tags"] if tag.startswith("sha256-")}
    assert lists == (set() if reported.api else {referrers_tag(Digest(image)) for image in reported.images})
    assert f"/referrers/{reported.images[1]}" in reported.registry.log.read_text()


def test_oras_discovers_and_pulls(reported: Reported, programs: Path, tmp_path: Path) -> None:
    """By the digest of an image it finds the one report, and fetches diff, page and changelog."""
    kind = () if reported.api else ("--artifact-type", REPORT)
    for image, artifact in zip(reported.images, reported.artifacts, strict=True):
        words = ("discover", "--format=json", *kind, f"{reported.repository}@{image}")
        (entry,) = json.loads(oras(programs, *words))["referrers"]
        assert entry["reference"] == f"{reported.repository}@{artifact}"
        assert reported.api or entry["artifactType"] == REPORT
    oras(programs, "pull", f"{reported.repository}@{reported.artifacts[1]}", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"diff.json", "diff.html", "changelog.md"}
    diff = check_document("diff", (tmp_path / "diff.json").read_text())
    assert (diff["old"]["digest"], diff["new"]["digest"]) == reported.images
    assert (tmp_path / "diff.html").read_text().startswith("<!doctype html>")
    assert "Download of an update" in (tmp_path / "changelog.md").read_text()


def test_crane_reads_the_report(reported: Reported, programs: Path) -> None:
    """Its manifest refers to the image, and each of its files is a blob of that digest."""
    crane = programs / "crane"
    pinned = f"{reported.repository}@{reported.artifacts[1]}"
    manifest: dict[str, Any] = json.loads(tools.run(crane, "manifest", pinned).out)
    assert manifest["subject"]["digest"] == reported.images[1]
    files = {
        layer["annotations"]["org.opencontainers.image.title"]: tools.run(
            crane, "blob", f"{reported.repository}@{layer['digest']}"
        ).out
        for layer in manifest["layers"]
    }
    assert check_document("diff", files["diff.json"])["new"]["digest"] == reported.images[1]
    assert "Download of an update" in files["changelog.md"]


def test_commands_of_the_page(reported: Reported, programs: Path, repository: Path, tmp_path: Path) -> None:
    """Each command that docs/pushing.md shows finds the report, or a file of it."""
    page = (repository / "docs/pushing.md").read_text()
    (block,) = re.findall(r"```text\n(oras discover .*?)```", page, re.DOTALL)
    digest = reported.artifacts[1]
    blob = json.loads(document(f"{reported.repository}@{digest}"))["layers"][0]["digest"]
    said = {}
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        place = blob if words[:2] == ["crane", "blob"] else digest
        words = [
            word.replace(f"https://{REPOSITORY}", f"http://{reported.registry.address}/v2/example/desktop")
            .replace(IMAGE, reported.repository)
            .replace("sha256-HEX", reported.tag)
            .replace("sha256:HEX", reported.images[1])
            .replace("sha256:…", place)
            for word in words
        ]
        if ("sha256-HEX" if reported.api else "/referrers/") in line:
            continue
        plain = list(PLAIN[words[0]])
        if words[:2] == ["skopeo", "inspect"]:
            plain = ["--tls-verify=false"]
        program = programs / words[0]
        command = [str(program) if program.exists() else words[0], *words[1:], *plain]
        said[" ".join(line.split("#")[0].split())] = tools.run(*command, cwd=tmp_path).out
    assert len(said) == (5 if reported.api else 7)
    for line, out in said.items():
        if line.startswith("oras pull"):
            assert (tmp_path / "diff.html").exists()
        elif line.startswith("crane blob"):
            check_document("diff", out)
        elif line.startswith("skopeo copy"):
            assert json.loads((tmp_path / "report/manifest.json").read_text())["artifactType"] == REPORT
        else:
            assert digest in out, line
