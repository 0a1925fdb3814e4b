"""The workflows of this repository: linted, pinned, with least permissions, for each Python we promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support import linters, workflow

TOP = Path(__file__).parents[2]
FILES = sorted((TOP / ".github/workflows").glob("*.yml"))


def jobs(name: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    found = workflow.load(TOP / ".github/workflows" / name)["jobs"]
    assert isinstance(found, dict)
    return found


def test_linters_find_nothing() -> None:
    linters.actionlint(*FILES)
    linters.check("yamllint", "--strict", "-d", linters.YAML_RULES, *FILES)
    linters.check("shellcheck", TOP / "tools/release", TOP / "packaging/install")


def test_zizmor_finds_nothing() -> None:
    found = linters.check("zizmor", "--offline", "--quiet", "--format=json", *FILES, TOP / "action.yml")
    assert found.strip() == "[]"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_their_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    for line in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_permissions_are_given_by_job(file: Path) -> None:
    document = workflow.load(file)
    assert document["permissions"] == {}
    writes = {
        (name, scope)
        for name, job in document["jobs"].items()
        for scope, access in job["permissions"].items()
        if access != "read"
    }
    assert writes == (
        {
            ("image", "packages"),
            ("sign", "packages"),
            ("sign", "id-token"),
            ("publish", "contents"),
            ("pypi", "id-token"),
        }
        if file.name == "release.yml"
        else set()
    )


def test_every_python_and_both_architectures_are_tested() -> None:
    text = (TOP / "pyproject.toml").read_text()
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', text)
    assert oldest
    matrix = jobs("ci.yml")["unit"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(oldest[1]), 15)]
    assert matrix["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
