"""Blocks of the README, run as they stand: only the registry is another one, and docker is podman's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from support import tools

PREAMBLE = """\
set -eu
docker() { podman "$@"; }
"""


def block(repository: Path, heading: str) -> str:
    """The first shell block below a heading."""
    found = re.search(
        rf"^## {re.escape(heading)}$.*?^```sh\n(.*?)^```$",
        (repository / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert found, heading
    return found[1]


def run(script: str, storage: tools.Storage, registry: tools.Registry, folder: Path) -> tools.Done:
    """Runs a script with `rechunk-podman` on its PATH; the registry is reached without TLS."""
    (folder / "registries.conf").write_text(
        f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
    )
    (folder / "script").write_text(
        f"{PREAMBLE}export RECHUNK_TLS_VERIFY=false CONTAINERS_REGISTRIES_CONF={folder}/registries.conf\n"
        f"export PATH={Path(sys.executable).parent}:$PATH\n{script}"
    )
    return storage.run("sh", folder / "script", cwd=folder)


def test_split_an_image(
    storage: tools.Storage, registry: tools.Registry, debian_image: str, repository: Path, tmp_path: Path
) -> None:
    script = block(repository, "Split an image in local storage")
    assert script.startswith("podman pull ")
    place = f"{registry.address}/readme"
    storage.run("podman", "push", "--tls-verify=false", debian_image, f"{place}/desktop:latest")
    done = run(script.replace("quay.io/example", place), storage, registry, tmp_path)
    assert "the same" in done.out + done.err
    storage.run("podman", "rmi", f"{place}/desktop:latest", f"{place}/desktop:chunked")


def test_with_docker(
    storage: tools.Storage, registry: tools.Registry, debian_image: str, repository: Path, tmp_path: Path
) -> None:
    script = block(repository, "With Docker")
    storage.run("podman", "tag", debian_image, "docker.io/example/app:1")
    done = run(
        script.replace("registry.example.com", f"{registry.address}/readme"), storage, registry, tmp_path
    )
    assert "sha256:" in done.out
    archive = f"docker-archive:{tmp_path}/app-chunked.tar"
    storage.rechunk("verify", f"containers-storage:{debian_image}", archive)
    storage.run("podman", "rmi", "docker.io/example/app:1")


def test_replay(storage: tools.Storage, registry: tools.Registry, repository: Path, tmp_path: Path) -> None:
    """The command that counts the gain of more layers, on the smallest history."""
    history = repository / "tests" / "data" / "histories" / "swag-alpine.json.xz"
    text = (repository / "README.md").read_text()
    found = re.search(r"`(rechunk-podman simulate [^`]+)`", text)
    assert found
    done = run(found[1].replace("FILE", str(history)), storage, registry, tmp_path)
    assert "swag" in done.out


def test_would_it_help(
    storage: tools.Storage,
    registry: tools.Registry,
    small: Callable[[int], str],
    repository: Path,
    tmp_path: Path,
) -> None:
    """The history of a repository, and its replay."""
    place = f"{registry.address}/would"
    for seed in (1, 2):
        storage.run("podman", "push", "--tls-verify=false", small(seed), f"{place}/desktop:{seed}")
    script = block(repository, "Would it help me? Ten minutes").replace("ghcr.io/example", place)
    done = run(script, storage, registry, tmp_path)
    assert "with 120 layers" in done.out


def test_layers_that_remember(
    storage: tools.Storage,
    registry: tools.Registry,
    small: Callable[[int], str],
    repository: Path,
    tmp_path: Path,
) -> None:
    """The image before is in the registry and, for `diff`, in storage; both blocks split the next one."""
    place = f"{registry.address}/remember"
    storage.rechunk("split", small(1), "-t", f"{place}/desktop:41")
    storage.run("podman", "push", "--tls-verify=false", f"{place}/desktop:41")
    blocks = block(repository, "Layers that remember") + block(repository, "Ship only what changed")
    script = re.sub(r"\bIMG\b", small(2), blocks.replace("quay.io/example", place))
    done = run(script, storage, registry, tmp_path)
    assert "download: 1.1 MB of 8.4 MB, 1 of 9 layers" in done.out
    digest = (tmp_path / "digest").read_text()
    for tag in ("42", "latest"):
        raw = storage.run("skopeo", "inspect", "--tls-verify=false", f"docker://{place}/desktop:{tag}").out
        assert json.loads(raw)["Digest"] == digest.strip()
    storage.run("podman", "rmi", f"{place}/desktop:41", f"{place}/desktop:42")
