"""Blocks of the README, run as they stand: only the registry is another one, and docker is podman's."""

from __future__ import annotations

import re
import sys
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
