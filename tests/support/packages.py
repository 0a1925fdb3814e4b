"""The sdist and the wheels of this checkout, built once for each state of the sources."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from images.cache import cached
from support import chunker, tools


def built(repository: Path, name: str, build: Callable[[Path, Path], None], *more: str) -> Path:
    """Return the folder that `build(sources, folder)` filled, from the cache for the same sources.

    sources: an unpacked sdist. more: files and folders, beside the package itself, that it reads.
    """

    def make(folder: Path) -> None:
        build(unpacked_sdist(repository, folder / "sdist"), folder)

    return cached(f"package-{name}", chunker.state(repository, *more), make)


def unpacked_sdist(repository: Path, folder: Path) -> Path:
    """Make an sdist and unpack it; return the folder with the sources. The archive stays beside it."""
    tools.run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, repository)
    (archive,) = folder.glob("*.tar.gz")
    tools.run("tar", "-xf", archive, "-C", folder)
    return folder / archive.name.removesuffix(".tar.gz")


def wheels(repository: Path) -> Path:
    """Return a folder with the wheel and all wheels that it needs: what a release and PyPI offer together."""
    return built(repository, "wheels", _build_wheels)


def wheel(repository: Path) -> Path:
    """Return the wheel of the package itself."""
    (found,) = wheels(repository).glob("rechunk_podman-*.whl")
    return found


def offline(repository: Path) -> dict[str, str]:
    """Return variables by which pip installs from these wheels, and asks no index."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels(repository)), "PIP_NO_COMPILE": "1"}


def _build_wheels(sources: Path, folder: Path) -> None:
    # An old pip builds pyxattr, which has no pyproject.toml, in the other way, which needs the package wheel.
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--use-pep517", "--wheel-dir", folder)
    tools.run(*pip, sources, timeout=600)
    shutil.rmtree(folder / "sdist")
