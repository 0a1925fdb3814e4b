"""The pages agree with the tree: folders, files and links that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "frontend" / "rechunk_podman"
ARCHITECTURE = (TOP / "docs" / "architecture.md").read_text()
PAGES = sorted((*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *(TOP / "tests" / "data").glob("*.md")))

CODE = {
    f"/{path.relative_to(TOP)}"
    for folder in ("frontend", "tests", "benchmarks", "tools")
    for path in (TOP / folder).rglob("*.*")
    if path.suffix in (".py", ".c", ".h")
} | {f"/{path.name}" for path in TOP.glob("*.py")}

_QUOTED = re.compile(r"`([A-Za-z0-9_./-]+)`")
_ROW = re.compile(r"\| `(?:…|frontend/rechunk_podman)/([a-z_/]+|packages/NAME)/` \| (\S.*) \|")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
_SUFFIXES = {".py", ".c", ".h", ".md", ".j2", ".pyi", ".toml", ".yml"}


def folders_of_the_package() -> set[str]:
    """Return the folders that hold code, relative to the package; those of ecosystems as packages/NAME."""
    code = {path.parent for suffix in ("py", "c") for path in PACKAGE.rglob(f"*.{suffix}")} - {PACKAGE}
    names = {str(folder.relative_to(PACKAGE)) for folder in code}
    return {"packages/NAME" if name.startswith("packages/") else name for name in names}


def test_every_folder_of_the_package_has_one_line() -> None:
    rows = [row[1] for row in _ROW.finditer(ARCHITECTURE)]
    assert sorted(rows) == sorted(folders_of_the_package())


def named_files() -> list[str]:
    """Return what the page on architecture quotes and looks like a file or a folder of this repository."""
    quoted = dict.fromkeys(_QUOTED.findall(ARCHITECTURE))
    return [
        name
        for name in quoted
        if not _PLACEHOLDER.search(name)
        and not name.startswith(("./", "."))
        and (name.endswith("/") or Path(name).suffix in _SUFFIXES)
    ]


def test_the_page_names_files() -> None:
    assert len(named_files()) > 40


@pytest.mark.parametrize("name", named_files())
def test_a_file_that_the_page_on_architecture_names_exists(name: str) -> None:
    folders = (TOP, PACKAGE, PACKAGE / "components", TOP / "templates", TOP / "tests")
    assert any((folder / name).exists() for folder in folders)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_modules_that_a_page_names_exist(page: Path) -> None:
    """A page names a module by the end of its path (`ledger.py`), or tells the reader to make a new file."""
    text = re.sub(r"\*\*`[^`]+`\*\*, a new file", "", page.read_text())
    named = [name for name in _QUOTED.findall(text) if re.search(r"\w\.(?:py|c|h)$", name)]
    missing = [
        name
        for name in named
        if not _PLACEHOLDER.search(name) and not any(file.endswith(f"/{name}") for file in CODE)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


def test_lists_of_where_to_add_have_at_most_three_files() -> None:
    section = ARCHITECTURE.partition("## Where do I add")[2].partition("\n## ")[0]
    titles = re.findall(r"^\*\*(an? .*?)\*\*", section, re.MULTILINE)
    for wanted in (
        "package ecosystem",
        "output format",
        "input",
        "lint check",
        "command",
        "registry feature",
    ):
        assert any(wanted in title for title in titles), wanted
    assert re.findall(r"^[0-9]+\.", section, re.MULTILINE)
    assert not re.search(r"^4\.", section, re.MULTILINE)


@pytest.mark.parametrize(
    "word",
    [
        *("component", "part", "layer", "blob", "descriptor", "digest", "diff_id", "ledger", "location"),
        *("position", "entry", "root", "tree", "plan", "assignment", "previous image", "base image"),
        *("ecosystem", "source"),
    ],
)
def test_the_glossary_defines(word: str) -> None:
    glossary = (TOP / "docs" / "glossary.md").read_text()
    assert glossary.count(f"| **{word}** |") == 1
