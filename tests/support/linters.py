"""The checkers of files that are not Python, from the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

YAML_RULES = "{extends: default, rules: {line-length: {max: 120}}}"


def program(name: str) -> str:
    """A program of the development dependencies, or a path."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed: pip install .[dev]"
    return found


def check(name: str, *arguments: str | os.PathLike[str], text: str | None = None) -> str:
    """Runs a checker on files, or on text at its standard input; what it complains of fails the test."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    return done.stdout


def run_both(name: str, *arguments: str | os.PathLike[str]) -> str:
    """Return both outputs of a program together; its failure fails the test."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout}"
    return done.stdout


def actionlint(*files: Path) -> None:
    """Checks workflows and actions, and the shell in them, by jactionlint, which covers actionlint's rules.

    Its package holds the program; that of actionlint itself fetches it from elsewhere when it is installed.
    """
    check("jactionlint", "--strict-exit", f"--shellcheck={program('shellcheck')}", *files)
