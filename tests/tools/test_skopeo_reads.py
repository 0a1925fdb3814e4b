"""skopeo beside our own code: it reads what we write, and reads for us what it alone can read."""

from __future__ import annotations

import subprocess

import pytest

from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.registry.answers import UnreachableError
from rechunk_podman.registry.documents import image_documents, previous_documents
from support.needs import require
from support.oci_material import Layout, make_tar, member, run
from support.writing import make_sizes, write


@pytest.fixture(autouse=True)
def skopeo():
    require("skopeo")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with an OCI layout in it."""
    Layout(tmp_path / "layout").layer(make_tar([member("a")])).finish()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_real_tools_read_what_is_written(tmp_path):
    top, place = make_sizes(tmp_path / "top"), tmp_path
    write(
        top, f"oci:{place}/layout", tag="example.org/a/b:c", compression=Compression.parse("zstd"), threads=2
    )
    write(top, f"oci-archive:{place}/archive", compression=Compression.parse("gzip"), threads=2)
    write(top, f"docker-archive:{place}/docker", threads=2)
    for source in (
        f"oci:{place}/layout:example.org/a/b:c",
        f"oci-archive:{place}/archive",
        f"docker-archive:{place}/docker",
    ):
        target = tmp_path / "copy"
        subprocess.run(["skopeo", "copy", "--quiet", source, f"dir:{target}"], check=True)
        assert (target / "manifest.json").is_file()


def test_documents_of_a_docker_archive(here):
    run("skopeo", "--insecure-policy", "copy", "-q", "oci:layout", "docker-archive:d.tar:x:1", cwd=here)
    for reference in ("d.tar", "docker-archive:d.tar", "docker-archive:d.tar:x:1"):
        assert image_documents(reference).layers[0].diff_id == image_documents("layout").layers[0].diff_id


def test_a_registry_that_does_not_answer_is_an_error_even_then(here):
    """Its memory would be lost for every later image. Nothing listens at port 1."""
    with pytest.raises(UnreachableError) as caught:
        previous_documents("docker://127.0.0.1:1/x:1")
    assert "--fresh" in (caught.value.hint or "")
