"""mkdocs makes a site of the pages without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from support.needs import unavailable

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    if not mkdocs.exists():
        unavailable("mkdocs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", folder, "--config-file", TOP / "mkdocs.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class _Page(HTMLParser):
    """links: of all elements. names: the anchors of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def test_links_lead_to_pages_and_anchors(site: Path) -> None:
    pages = {page: _Page(page.read_text()) for page in site.rglob("*.html") if page.name != "404.html"}
    assert len(pages) > 20
    broken = []
    for page, content in pages.items():
        for link in content.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(address.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].names):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert not re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="?https?://(?!github\.com)', text)


def test_each_page_has_its_place() -> None:
    text = (TOP / "mkdocs.yml").read_text()
    named = re.findall(r"[\w-]+\.md$", text, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in (TOP / "docs").glob("*.md"))
    kinds = {next(iter(part)) for part in yaml.safe_load(text)["nav"]}
    assert {"Home", "Tutorial", "How to", "Reference", "Explanation"} <= kinds
