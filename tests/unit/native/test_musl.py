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


@pytest.fixture
def musl_gcc(tmp_path: Path) -> list[str]:
    """A compiler call with musl's headers, Python's, and no others; warnings are errors."""
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
    flags = ["-Werror", *setting("FLAGS"), *defines]
    return ["musl-gcc", *flags, f"-I{tmp_path / headers.name}", f"-I{tmp_path}"]


def output_of(*command: str | Path) -> str:
    """Return the output of a command that has to succeed without a word of complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_module_needs_python_and_musl_alone(musl_gcc: list[str], tmp_path: Path) -> None:
    """Each symbol that the linked module lacks is Python's, or musl's libc has it."""
    require("nm")
    module = tmp_path / "native.so"
    output_of(*musl_gcc, "-fPIC", "-shared", *SOURCES, "-o", module)
    (libc,) = Path("/lib").glob("ld-musl-*.so.1")
    offered = {line.split()[-1] for line in output_of("nm", "-D", "--defined-only", libc).splitlines()}
    lines = [line.split() for line in output_of("nm", "-D", "--undefined-only", module).splitlines()]
    needed = {name for kind, name in lines if kind == "U" and not name.startswith(("Py", "_Py"))}
    assert len(needed) > 20
    assert needed <= offered
