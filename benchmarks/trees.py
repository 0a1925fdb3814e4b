"""The trees that benchmarks run on: from Debian's packages, from rpms, and generated."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from images import rpm
from images.cache import cached, need, unpack
from images.debian import MIRROR, SUITE, bootstrap

# A development container: compilers, four language runtimes, a database, a scientific stack.
PACKAGES = (
    "build-essential,ca-certificates,default-jdk-headless,git,golang-go,nodejs,npm,perl,postgresql,"
    "python3-pip,python3-scipy,python3-matplotlib,ruby,vim,texlive-latex-base"
)


def remove_devices(root: Path) -> None:
    """Remove the device nodes that mmdebstrap makes: chunkah refuses them."""
    for path in (root / "dev").iterdir():
        if path.is_char_device() or path.is_block_device():
            path.unlink()


def debian() -> Path:
    """A Debian root filesystem of more than 1 GB and 50,000 files, built once and kept."""

    def build(folder: Path) -> None:
        need("mmdebstrap")
        bootstrap(folder / "root", SUITE, (PACKAGES,), [f"deb {MIRROR} {SUITE} main"])
        remove_devices(folder / "root")

    return cached("benchmark", "2", build) / "root"


def application() -> Path:
    """A server of Debian packages with an application of no package: 1 GB, built once and kept."""

    def build(folder: Path) -> None:
        need("mmdebstrap")
        packages = (
            "ca-certificates,nodejs,npm,postgresql,python3-scipy,python3-matplotlib,default-jre-headless"
        )
        bootstrap(folder / "root", SUITE, (packages,), [f"deb {MIRROR} {SUITE} main"])
        remove_devices(folder / "root")
        for number in range(10_000):
            directory = folder / f"root/srv/app/module{number // 100:03}"
            directory.mkdir(parents=True, exist_ok=True)
            data = random.Random(number).randbytes(number % 300 * 50).hex()
            (directory / f"part{number:05}.js").write_text(data)

    return cached("benchmark-application", "2", build) / "root"


def rpms() -> Path:
    """The image of rpms that tests use, unpacked."""

    def build(folder: Path) -> None:
        unpack(rpm.tar("base"), folder / "root")

    return cached("benchmark-rpm", "1", build) / "root"


def many_files(count: int) -> Path:
    """A root filesystem of `count` small files in directories of a hundred, built once and kept."""

    def build(folder: Path) -> None:
        (folder / "root").mkdir()
        for number in range(count):
            directory = f"{folder}/root/usr/share/collection-{number // 10000:03}/group-{number // 100:05}"
            if number % 100 == 0:
                os.makedirs(directory)  # noqa: PTH103
            with open(f"{directory}/some-file-of-it-{number:06}.txt", "w") as file:
                file.write(f"{number}\n" * (number % 50))
            os.utime(file.name, (1_600_000_000 + number % 5000,) * 2)

    return cached(f"benchmark-{count}", "1", build) / "root"
