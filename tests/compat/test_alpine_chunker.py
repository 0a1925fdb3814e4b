"""The chunker image on a base with musl in place of glibc, as Alpine: the same image, bit by bit."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images import alpine, debian
from images.cache import MissingTool
from support import chunker, tools
from support.needs import require, unavailable

BASE = "localhost/alpine-base:latest"
CHUNKER = "localhost/rechunk-podman:alpine"

#: What the build of the wheel needs.
BUILD = ("hatchling>=1.27", "setuptools>=70", "wheel")


def download(folder: Path, repository: Path) -> None:
    """Fill a folder with the wheels for musl of all dependencies, and pyxattr's source."""
    text = (repository / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block
    needed = re.findall(r'^ +"(.+)",$', block[1], re.MULTILINE)
    wheels = [name for name in needed if not name.startswith("pyxattr")]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder)
    tools.run(
        *(*pip, "--only-binary=:all:", "--implementation=cp", f"--python-version={alpine.PYTHON}"),
        *(f"--platform={one}" for one in ("musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "any")),
        *wheels,
        *BUILD,
        env={"PIP_FIND_LINKS": ""},
    )
    tools.run(*pip, "--no-deps", "--no-binary=:all:", "pyxattr>=0.8", env={"PIP_FIND_LINKS": ""})


@pytest.fixture
def index(tmp_path: Path, repository: Path) -> Iterator[str]:
    """The address of an index on loopback, since this Python was built without TLS."""
    download(tmp_path / "files", repository)
    for file in (tmp_path / "files").iterdir():
        name = re.sub(r"[-_.]+", "-", file.name.split("-")[0]).lower()
        (tmp_path / "simple" / name).mkdir(parents=True)
        file.rename(tmp_path / "simple" / name / file.name)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "simple"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def archive(storage: tools.Storage, repository: Path, folder: Path, image: str, name: str) -> Path:
    """Split an image by Containerfile.splitter with a chunker image; return the archive that it wrote."""
    folder.mkdir()
    shutil.copy(repository / "Containerfile.splitter", folder)
    (folder / "rechunk-config.json").write_text(storage.run("podman", "image", "inspect", image).out)
    storage.run(
        *("buildah", "build", "--skip-unused-stages=false", "--from", image),
        *("-v", f"{folder}:/run/src", "--security-opt", "label=disable"),
        *("--build-arg", f"CHUNKER={name}", "--build-arg", "RECHUNK_ARGS=--max-layers 20"),
        *("-t", f"localhost/split:{folder.name}", "-f", "Containerfile.splitter", "."),
        cwd=folder,
    )
    return folder / "out.ociarchive"


def test_the_same_image(
    repository: Path, index: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """frontend/Containerfile compiles the extension for musl; the splitter makes the same image by it."""
    require("podman", "buildah", "skopeo")
    try:
        base = alpine.tar()
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    with tools.private_storage(tmp_path_factory.mktemp("storage")) as storage:
        storage.import_tar(base, BASE)
        volumes = [word for mount in alpine.COMPILER for word in ("--volume", f"{mount}:ro")]
        chunker.build_on(
            repository, storage, BASE, CHUNKER, *volumes, "--build-arg", f"PIP_INDEX_URL={index}"
        )
        with storage.mounted(CHUNKER) as root:
            (module,) = root.glob("opt/rechunk-podman/lib/python*/site-packages/rechunk_podman/native/*.so")
            assert "libc.so\n" in tools.run("objdump", "-p", module).out
            assert not (root / "usr/bin/gcc").exists()
        source = storage.import_tar(debian.tar("release"), "localhost/debian:release")
        chunker.provide(repository, storage)
        results = []
        for name in (chunker.NAME, CHUNKER):
            made = archive(storage, repository, tmp_path / name.rpartition(":")[2], source, name)
            results.append(json.loads(tools.run("skopeo", "inspect", "--raw", f"oci-archive:{made}").out))
        assert results[0] == results[1]
        assert len(results[0]["layers"]) > 10
        storage.rechunk("verify", f"containers-storage:{source}", f"oci-archive:{made}")
