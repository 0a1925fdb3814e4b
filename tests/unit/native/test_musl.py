"""The extension compiles against the headers of musl, as on Alpine, and without a warning."""

from __future__ import annotations

import ast
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from support.needs import require

TOP = Path(__file__).parents[3]
SOURCES = sorted((TOP / "frontend/rechunk_podman/native").glob("*.c"))


def setting(name: str) -> tuple[Any, ...]:
    """Return a constant of the build hook, whose module needs hatchling."""
    for node in ast.parse((TOP / "hatch_build.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return tuple(ast.literal_eval(node.value))
    raise LookupError(name)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_compiles_against_musl(source: Path, tmp_path: Path) -> None:
    require("musl-gcc")
    headers = Path(sysconfig.get_paths()["platinclude"])
    if not (headers / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    # Debian's pyconfig.h includes <TRIPLET/pythonX.Y/pyconfig.h>. No other header of glibc is seen.
    (tmp_path / headers.name).symlink_to(headers)
    triplet = sysconfig.get_config_var("MULTIARCH") or "none"
    (tmp_path / triplet).mkdir()
    (tmp_path / triplet / headers.name).symlink_to(headers.parent / triplet / headers.name)
    defines = [f"-D{name}={value}" for name, value in setting("LARGE")]
    done = subprocess.run(
        [
            *("musl-gcc", "-fsyntax-only", "-Werror", *setting("FLAGS"), *defines),
            *(f"-I{tmp_path / headers.name}", f"-I{tmp_path}", source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
