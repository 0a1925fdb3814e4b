"""The newcomer's drill: follow docs/adding-an-ecosystem.md literally in a scratch copy; use the result."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_BLOCK = re.compile(
    r"^\*\*`(?P<path>[^`]+)`\*\*, (?:a new file|after the line `(?P<line>[^`]+)`):\n\n"
    r"```(?:python|text)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
BUILT = 1_700_000_000


def apply(page: str, top: Path) -> list[str]:
    """Do what the page says, and return the paths that it names."""
    blocks = list(_BLOCK.finditer(page))
    assert 2 * len(blocks) == len(re.findall(r"^```", page, re.MULTILINE)), "a block has no path above it"
    for block in blocks:
        file = top / block["path"]
        if block["line"] is None:
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block["text"])
            continue
        before, found, after = file.read_text().partition(block["line"] + "\n")
        assert found, f"{block['path']} has no line {block['line']!r}"
        file.write_text(before + found + block["text"] + after)
    return [block["path"] for block in blocks]


def run(top: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(top / "frontend")}
    done = subprocess.run(
        [sys.executable, *command], cwd=top, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory, repository):
    """A scratch copy of what the drill needs, the page applied."""
    top = tmp_path_factory.mktemp("drill") / "clone"
    skip = shutil.ignore_patterns("__pycache__", "*.c", "*.h", "toybox")
    for folder in ("frontend/rechunk_podman", "templates", "tests/support"):
        shutil.copytree(repository / folder, top / folder, ignore=skip)
    for file in ("pyproject.toml", "tests/conftest.py", "tests/unit/packages/test_locations.py"):
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / file, top / file)
    apply((repository / "docs" / "adding-an-ecosystem.md").read_text(), top)
    return top


def test_the_copy_is_what_runs(clone):
    code = "from rechunk_podman.packages import ecosystems as e; "
    code += "print(e.__file__, *(known.name for known in e.ECOSYSTEMS))"
    file, *names = run(clone, "-c", code).split()
    assert file == str(clone / "frontend/rechunk_podman/packages/ecosystems.py")
    assert "toybox" in names


def test_a_reader_and_a_line_are_enough(repository, tmp_path):
    file = "frontend/rechunk_podman/packages/ecosystems.py"
    (tmp_path / file).parent.mkdir(parents=True)
    shutil.copyfile(repository / file, tmp_path / file)
    changed = set(apply((repository / "docs" / "adding-an-ecosystem.md").read_text(), tmp_path))
    assert changed == {
        file,
        "frontend/rechunk_podman/packages/toybox/__init__.py",
        "frontend/rechunk_podman/packages/toybox/reader.py",
        "tests/unit/packages/test_toybox.py",
    }


def test_the_tests_of_the_page_pass(clone):
    said = run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/packages")
    assert re.search(r"\b\d+ passed", said)


def test_the_code_of_the_page_is_clean(clone):
    if shutil.which("ruff", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("ruff is not installed")
    files = ("frontend/rechunk_podman/packages", "tests/unit/packages")
    run(clone, "-m", "ruff", "check", "--no-cache", *files)
    run(clone, "-m", "ruff", "format", "--no-cache", "--check", *files)


def rootfs(top: Path, version: str) -> Path:
    """Write a root filesystem with one package of toybox."""
    content = f"hammer {version}\n"
    (top / "usr/bin").mkdir(parents=True)
    (top / "usr/bin/hammer").write_text(content)
    (top / "etc").mkdir()
    (top / "etc/conf").write_text("of nobody\n")
    database = top / "var/lib/toybox"
    database.mkdir(parents=True)
    (database / "installed").write_text(
        f"package: claw-hammer\nversion: {version}\nsource: tools {version}\nbuilt: {BUILT}\n"
        f"file: {hashlib.sha256(content.encode()).hexdigest()} /usr/bin/hammer\n"
    )
    (database / "installed.old").write_text("x")
    return top


def test_the_command_line_knows_the_new_ecosystem(clone, tmp_path):
    """Build an image and its update, compare them, and lint the files."""
    command = ("-m", "rechunk_podman")
    images = []
    for version in ("1.9", "1.10"):
        folder = rootfs(tmp_path / f"root-{version}", version)
        images.append(f"oci:{tmp_path / version}")
        run(clone, *command, "build", "--rootfs", str(folder), "--output", images[-1])
    facts = json.loads(run(clone, *command, "inspect", "--json", images[1]))
    text = json.dumps(facts)
    assert '"toybox/tools"' in text
    assert '"database/toybox"' in text
    changes = json.loads(run(clone, *command, "changelog", "--json", *images))["packages"]
    assert changes["level"] == "binary"
    (change,) = changes["changes"]
    assert [change[key] for key in ("name", "kind", "old", "new")] == [
        "claw-hammer",
        "upgraded",
        "1.9",
        "1.10",
    ]
    only = ("--only", "package-journals", "--json")
    found = run(clone, *command, "lint", *only, str(tmp_path / "root-1.10"))
    assert "/var/lib/toybox/installed.old" in found
