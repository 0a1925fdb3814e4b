"""hatchling's build hook: compiles the extension module into the package."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

FOLDER = "frontend/rechunk_podman/native"
MODULE = "rechunk_podman.native._native"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden")
LARGE = (("_FILE_OFFSET_BITS", "64"), ("_TIME_BITS", "64"))
"""For processors of 32 bits: files of 2 GiB and more, times after 2038."""
ABI = "cp310"
"""The oldest Python whose stable ABI the module needs; later ones run the same file."""


class ExtensionHook(BuildHookInterface):
    """Puts the module beside its sources, for the wheel and for an editable installation alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling, BuildHookInterface.initialize()."""
        folder = Path(self.root, FOLDER)
        extension = Extension(
            MODULE,
            sorted(map(str, folder.glob("*.c"))),
            define_macros=list(LARGE),
            extra_compile_args=list(FLAGS),
            py_limited_api=True,
        )
        with TemporaryDirectory(dir=self.root, prefix=".build-") as scratch:
            command = build_ext(Distribution({"ext_modules": [extension]}))
            command.build_lib = command.build_temp = scratch
            command.ensure_finalized()
            command.run()
            (made,) = Path(scratch).rglob("*.so")
            # Whoever runs from this tree meanwhile always finds a whole module.
            made.replace(folder / made.name)
        for other in folder.glob("*.so"):
            if other.name != made.name:  # of an older version or another machine
                other.unlink(missing_ok=True)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"{ABI}-abi3-{platform}"
