"""The chunker image, built by frontend/Containerfile on a Debian base, once for each state of the sources."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from images import debian
from images.cache import cached
from support import tools

NAME = "localhost/rechunk-podman:latest"
BASE = "localhost/chunker-base:latest"

_FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "frontend/Containerfile")
_SOURCES = (*_FILES, "frontend/rechunk_podman", "templates")


def archive(repository: Path, storage: tools.Storage) -> Path:
    """The OCI archive of the chunker image, from the cache or built now in `storage`."""

    def build(folder: Path) -> None:
        build_image(repository, storage)
        storage.copy(f"containers-storage:{NAME}", f"oci-archive:{folder}/chunker.oci-archive")

    return cached("chunker", state(repository), build) / "chunker.oci-archive"


def build_image(repository: Path, storage: tools.Storage) -> None:
    """Builds it as the README says, on the Debian test image: no registry is asked."""
    storage.import_tar(debian.tar("release"), BASE)
    options = []
    # Where a proxy speaks for the package index, pip in the build has to trust what pip here trusts.
    if certificates := os.environ.get("PIP_CERT"):
        options += [
            "--volume",
            f"{certificates}:/run/pip-cert.pem:ro",
            "--build-arg",
            "PIP_CERT=/run/pip-cert.pem",
        ]
    if index := os.environ.get("PIP_INDEX_URL"):
        options += ["--build-arg", f"PIP_INDEX_URL={index}"]
    build_on(repository, storage, BASE, NAME, *options)


def build_on(repository: Path, storage: tools.Storage, base: str, name: str, *options: str) -> None:
    """Builds frontend/Containerfile with a BASE in `storage`; options: of `buildah build`."""
    storage.run(
        *("buildah", "build", "--build-arg", f"BASE={base}", *options),
        *("--tag", name, "--file", "frontend/Containerfile", "."),
        cwd=repository,
        timeout=900,
    )


def provide(repository: Path, storage: tools.Storage) -> str:
    """Makes sure that the chunker image is in `storage`; its name."""
    if storage.run("podman", "image", "exists", NAME, check=False).code:
        source = archive(repository, storage)
        storage.copy(f"oci-archive:{source}", f"containers-storage:{NAME}")
    return NAME


def state(repository: Path, *more: str) -> str:
    """Return a name for the state of the sources, and of more files and folders of the repository."""
    digest = hashlib.sha256(debian.VERSION.encode())
    for source in (*_SOURCES, *more):
        top = repository / source
        for file in sorted([top] if top.is_file() else top.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(repository)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
