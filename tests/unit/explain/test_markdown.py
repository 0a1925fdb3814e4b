"""Updates as Markdown, and images as trees of lines."""

from __future__ import annotations

from rechunk_podman.cli.tree_text import tree_lines
from rechunk_podman.explain.download import compare
from rechunk_podman.explain.inspect import describe
from rechunk_podman.explain.markdown import MOST_ROWS, escape, update_markdown
from support.described import NOW, component, image, layer, ledger_of

GLIBC, BASH = component("rpm/glibc", "1", "2.39-1"), component("rpm/bash", "1", "5.2-1")
NEW_GLIBC, TOOL = component("rpm/glibc", "2", "2.39-2"), component("rpm/a|b", "1", "1")


def pages(count: int = 0) -> tuple[list, list]:
    more = [component(f"rpm/more{number:03}", "1", "1") for number in range(count)]
    old = [layer(GLIBC, BASH)]
    return old, [layer(NEW_GLIBC, BASH), layer(TOOL, *more)]


def test_an_update_as_markdown():
    before, after = pages()
    first = ledger_of(before)
    old = image(*before, ledger=first, name="old|one")
    new = image(*after, ledger=ledger_of(after, first, NOW + 1), name="new")
    text = update_markdown(compare(describe(old), describe(new)))
    lines = text.splitlines()
    assert lines[0] == r"### Update: old\|one → new"
    assert r"A client that has old\|one downloads" in lines[2]
    assert "| rpm/glibc | 2.39-1 | 2.39-2 |" in lines
    assert r"| rpm/a\|b |  | 1 |" in lines
    row = next(line for line in lines if line.startswith("| 1 |"))
    assert row.endswith("| rpm/glibc | rpm/bash |")
    assert text.count("<details>") == text.count("</details>") == 2


def test_long_tables_are_cut():
    before, after = pages(MOST_ROWS)
    first = ledger_of(before)
    new = image(*after, ledger=ledger_of(after, first, NOW + 1))
    text = update_markdown(compare(describe(image(*before, ledger=first)), describe(new)))
    assert "| … | and 2 more |  |" in text.splitlines()
    assert len(text) < 1 << 20


def test_paths_that_differ_are_listed():
    """The document lists at most MOST_ROWS of the paths that --files asks for, and escapes their markup."""
    before, _ = pages()
    facts = describe(image(*before, ledger=ledger_of(before)))
    lines = update_markdown(compare(facts, facts), ["layer 1:", *["  added: /a*"] * MOST_ROWS]).splitlines()
    assert r"* added: /a\*" in lines
    assert "* … and 1 more" in lines
    assert lines.count(r"* added: /a\*") == MOST_ROWS - 1


def test_the_same_image_has_no_tables():
    before, _ = pages()
    facts = describe(image(*before, ledger=ledger_of(before)))
    text = update_markdown(compare(facts, facts))
    assert "downloads nothing" in text
    assert "|" not in text.replace(r"\|", "")


def test_markup_in_names_is_text():
    assert escape("a *b*\n<i>") == r"a \*b\* \<i\>"


def test_nobody_is_mentioned():
    """A package is no user of the forge; references stay as they can be copied."""
    assert escape("npm/@types/node") == "npm/@&#8203;types/node"
    assert escape("docker://r.example/a@sha256:0") == "docker://r.example/a@sha256:0"


def test_an_image_as_a_tree():
    _, after = pages()
    lines = list(tree_lines(describe(image(*after, ledger=ledger_of(after), above=[layer()]))))
    assert lines[0].startswith("an-image  ")
    assert lines[1].startswith("├─ layer 1  ")
    assert lines[2:4] == ["│  ├─ rpm/bash  5.2-1", "│  └─ rpm/glibc  2.39-2"]
    assert lines[-1].startswith("└─ layer 3  ")
    assert lines[-1].endswith("COPY . .")
