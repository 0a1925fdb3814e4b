"""Compiles the extension modules into the package: hatchling's build hook."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

SOURCES = "frontend"
MODULES = (
    "rechunk_podman/native/_contents",
    "rechunk_podman/native/_listing",
    "rechunk_podman/native/_stream",
)
HEADERS = (
    "rechunk_podman/native/sha256.h",
    "rechunk_podman/native/confined.h",
    "rechunk_podman/native/stream.h",
)
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-cast-function-type")
LARGE = (("_FILE_OFFSET_BITS", "64"), ("_TIME_BITS", "64"))
"""For processors of 32 bits: files of 2 GiB and more, times after 2038."""
ABI = "cp310"
"""The oldest Python whose stable ABI they need; later ones run the same file."""


class ExtensionHook(BuildHookInterface):
    """Puts the modules beside their sources, for the wheel and for an editable installation alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling, BuildHookInterface.initialize()."""
        top = Path(self.root, SOURCES)
        extensions = [
            Extension(
                module.replace("/", "."),
                [str(top / f"{module}.c")],
                depends=[str(top / header) for header in HEADERS],
                define_macros=list(LARGE),
                extra_compile_args=list(FLAGS),
                py_limited_api=True,
            )
            for module in MODULES
        ]
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.build_lib = str(top)
        command.build_temp = str(Path(self.root, "build"))
        command.force = True  # what is there may be for another machine
        command.ensure_finalized()
        command.run()
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"{ABI}-abi3-{platform}"
