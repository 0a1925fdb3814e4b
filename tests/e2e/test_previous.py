"""The previous image of a series in a real registry; a changelog of images there."""

from __future__ import annotations

import json
import shutil

import pytest

from support.documents import check_document
from support.linting import make
from support.oci_material import Layout, make_tar, member
from support.pushing import digest_of
from support.tools import RECHUNK, run


@pytest.fixture(scope="module")
def series(registry, tmp_path_factory):
    """A repository with the tags of two series, a signature, and tags without dates. Returns its name."""
    folder = tmp_path_factory.mktemp("series")
    repository = f"{registry.address}/series/os"
    made = {"old": "2024-01-01T00:00:00Z", "new": "2024-06-01T00:00:00Z"}
    for name, created in made.items():
        layout = Layout(folder / name)
        layout.layer(make_tar([member("file", data=name.encode())]))
        layout.config["created"] = created
        layout.finish()
    tags = {
        "40-20240101": "old",
        "40-20240601": "new",
        "40-20240601.1": "new",
        "41-20250101": "new",
        "latest": "new",
        "v-new": "new",
        "v-old": "old",
        "sha256-" + "0" * 64 + ".sig": "new",
        "sha256-" + "1" * 64: "new",
    }
    for tag, name in tags.items():
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        run(*copy, f"oci:{folder / name}", f"docker://{repository}:{tag}")
    return repository


def previous(repository, *arguments, check=True):
    return run(*RECHUNK, "previous", f"docker://{repository}", "--tls-verify=false", *arguments, check=check)


def test_the_newest_of_a_series(series):
    assert previous(series, "--pattern", "^40-[0-9]{8}$").out == "40-20240601\n"
    assert previous(series, "--pattern", "^40-").out == "40-20240601.1\n"
    assert previous(series, "--pattern", "^40-", "--before", "40-20240601").out == "40-20240101\n"
    assert previous(series, "--pattern", "^4").out == "41-20250101\n"


def test_tags_without_a_date_by_when_they_were_created(series):
    found = check_document("previous", previous(series, "--pattern", "^v-", "--json").out)
    assert found == {
        "format": 1,
        "tag": "v-new",
        "reference": f"docker://{series}:v-new",
        "date": "2024-06-01T00:00:00Z",
        "date_from": "created",
    }
    assert (
        previous(series, "--pattern", "^v-", "--before", "v-new", "--reference").out
        == f"docker://{series}:v-old\n"
    )


def test_signatures_are_never_the_previous_image(series):
    assert previous(series, "--pattern", "^sha256-").out == ""


@pytest.mark.parametrize("repository", ["series/os", "series/nothing"])
def test_none_yet(series, registry, repository):
    name = f"{registry.address}/{repository}"
    done = previous(name, "--pattern", "^39-")
    assert (done.code, done.out) == (0, "")
    done = previous(name, "--pattern", "^39-", "--fail", check=False)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: no tag of docker://{name} matches ^39-\nhint: ")


@pytest.fixture(scope="module")
def mixed(registry, series, tmp_path_factory):
    """A repository whose newest tags name no image: a chart, an SBOM, and one whose manifest is gone."""
    folder = tmp_path_factory.mktemp("mixed")
    repository = f"{registry.address}/series/mixed"
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
    run(
        *copy,
        "--src-tls-verify=false",
        f"docker://{series}:40-20240101",
        f"docker://{repository}:40-20240101",
    )
    chart = Layout(folder / "chart")
    chart.layer(b"chart", media_type="application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    config = chart.blob(b'{"name": "chart", "version": "1.0"}')
    chart.manifest["config"] = {"mediaType": "application/vnd.cncf.helm.config.v1+json", **config}
    chart.finish()
    sbom = Layout(folder / "sbom")
    sbom.layer(b"{}", media_type="application/spdx+json")
    sbom.manifest["artifactType"] = "application/spdx+json"
    sbom.manifest["config"] = {"mediaType": "application/vnd.oci.empty.v1+json", **sbom.blob(b"{}")}
    sbom.finish()
    run(*copy, f"oci:{folder / 'chart'}", f"docker://{repository}:40-20240301")
    run(*copy, f"oci:{folder / 'sbom'}", f"docker://{repository}:40-20240302")
    dead = Layout(folder / "dead")
    dead.layer(make_tar([member("file", data=b"dead")]))
    dead.finish()
    run(*copy, f"oci:{folder / 'dead'}", f"docker://{repository}:40-20240303")
    stored = registry.log.parent / "content/docker/registry/v2/repositories/series/mixed"
    shutil.rmtree(stored / "_manifests/revisions/sha256" / digest_of(f"{repository}:40-20240303")[7:])
    return repository


def test_tags_that_name_no_image_are_left_out_aloud(mixed):
    done = previous(mixed, "--pattern", "^40-")
    assert done.out == "40-20240101\n"
    for tag in ("40-20240301", "40-20240302", "40-20240303"):
        assert f"warning: {mixed}:{tag} is left out: " in done.err
    assert previous(mixed, "--pattern", "-2024030[123]$").out == ""


def test_the_digest_of_the_newest(series):
    digest = digest_of(f"{series}:40-20240601")
    words = ("--pattern", "^40-[0-9]{8}$", "--digest")
    assert previous(series, *words).out == f"{series}@{digest}\n"
    assert previous(series, *words, "--reference").out == f"docker://{series}@{digest}\n"
    assert check_document("previous", previous(series, *words, "--json").out)["digest"] == digest


def test_a_registry_that_is_not_there_is_an_error():
    done = previous("127.0.0.1:1/os", "--pattern", "^40-", check=False)
    assert done.code == 1
    assert "cannot be reached" in done.err


@pytest.mark.parametrize(
    "arguments",
    [("docker://localhost/os:tag",), ("oci:somewhere",), ("docker://localhost/os", "--pattern", "(")],
)
def test_a_wrong_call(arguments, series):
    if "--pattern" in arguments:
        arguments = (f"docker://{series}", *arguments[1:])
    done = run(*RECHUNK, "previous", "--tls-verify=false", *arguments, check=False)
    assert done.code == 2, done.err
    assert done.err.startswith("error: ")


def test_a_changelog_of_images_in_a_registry(series, registry, tmp_path):
    """No layer is fetched: the Ledgers know the source packages."""
    status = "Package: tool\nStatus: install ok installed\nVersion: {}\n"
    references = []
    for version in ("1.0-1", "1.1-1"):
        root = make(
            tmp_path / version,
            {
                "var/lib/dpkg/status": status.format(version),
                "var/lib/dpkg/info/tool.list": "/.\n/usr\n/usr/bin\n/usr/bin/tool\n",
                "usr/bin/tool": version * 100,
            },
        )
        archive = tmp_path / f"{version}.oci-archive"
        run(*RECHUNK, "build", "--rootfs", root, "--output", f"oci-archive:{archive}", "--max-layers", "4")
        reference = f"docker://{registry.address}/series/tool:{version}"
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        run(*copy, f"oci-archive:{archive}", reference)
        references.append(reference)
    document = json.loads(run(*RECHUNK, "changelog", "--tls-verify=false", "--json", *references).out)
    assert document["packages"]["level"] == "source"
    assert [(c["name"], c["kind"], c["old"], c["new"]) for c in document["packages"]["changes"]] == [
        ("tool", "upgraded", "1.0-1", "1.1-1")
    ]
    assert 0 < document["download"]["bytes"] <= document["download"]["of_bytes"]
