"""Parts as people and programs see them: components with the names of parts, never ids that contain one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rechunk_podman.changelog.run import installed_packages
from rechunk_podman.cli.diff_text import change_lines, contents, reason
from rechunk_podman.explain.documents import image_document, update_document
from rechunk_podman.explain.download import CHANGED, UNCHANGED, compare
from rechunk_podman.explain.inspect import ImageFacts, describe
from rechunk_podman.explain.markdown import update_markdown
from rechunk_podman.explain.report.image_page import image_page
from rechunk_podman.explain.report.page import Page, render
from rechunk_podman.explain.report.update_page import update_page
from rechunk_podman.history.release import Contents
from rechunk_podman.model import Component, ComponentId, Part
from rechunk_podman.planning.layout import lay_out
from rechunk_podman.planning.ledger import Ledger
from support.described import NOW, image, layer, sha

MB = 1_000_000
VENDORS = tuple(f"/usr/lib/firmware/{name}" for name in ("amdgpu", "i915", "iwlwifi", "nvidia", "qcom", "ti"))


def firmware(contents: Sequence[int]) -> Component:
    """Return a component whose parts have these contents."""
    parts = tuple(
        Part(name, (10 - at) * MB // 5, bytes.fromhex(sha(f"{name} {content}")[7:23]))
        for at, (name, content) in enumerate(zip(VENDORS, contents, strict=True))
    )
    fingerprint = bytes.fromhex(sha(str(contents))[7:23])
    size = sum(part.size for part in parts)
    return Component(ComponentId("rpm", "fw"), size, fingerprint, version=f"1.{sum(contents)}", parts=parts)


OTHERS = [
    Component(ComponentId("rpm", f"p{at:02}"), 100_000, bytes([at] * 8), version="1") for at in range(20)
]

RELEASES = ([1] * 6, [2, 2, 1, 1, 1, 1], [3, 3, 1, 1, 1, 1])


def released(image_parts: Sequence[int], previous: Ledger | None, number: int) -> tuple[ImageFacts, Ledger]:
    """Return the facts of a release, and its Ledger."""
    return described([firmware(image_parts), *OTHERS], previous, number)


def described(
    components: Sequence[Component], previous: Ledger | None, number: int
) -> tuple[ImageFacts, Ledger]:
    """Return the facts and the Ledger of an image of these components."""
    layout = lay_out(components, previous, max_layers=30, now=NOW + number * 604_800)
    units = {unit.id: unit for unit in layout.units}
    layers = [layer(*(units[ident] for ident in planned.components)) for planned in layout.plan.layers]
    ledger = Ledger.advance(
        layout.memory,
        layout.units,
        layout.plan,
        [content.diff_id for content in layers],
        date=NOW + number * 604_800,
    )
    return describe(image(*layers, ledger=ledger, name=f"release-{number}")), ledger


@pytest.fixture(scope="module")
def releases() -> list[ImageFacts]:
    found, ledger = [], None
    for number, parts in enumerate(RELEASES):
        facts, ledger = released(parts, ledger, number)
        found.append(facts)
    return found


def ids(document: object) -> list[str]:
    """Return all values of the key `id` in a document."""
    if isinstance(document, dict):
        own = [document["id"]] if isinstance(document.get("id"), str) else []
        return own + [one for value in document.values() for one in ids(value)]
    return [one for value in document for one in ids(value)] if isinstance(document, list) else []


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 2), (0, 2)])
def test_an_update_names_the_parts_that_changed(releases: list[ImageFacts], old: int, new: int) -> None:
    update = compare(releases[old], releases[new])
    (changed,) = update.components(CHANGED)
    assert (changed.name, changed.held.parts) == ("rpm/fw", VENDORS[:2])
    assert (changed.held.size * 10 // MB, changed.held.whole * 10 // MB) == (38, 90)
    assert (changed.old_version, changed.new_version) == (
        f"1.{sum(RELEASES[old])}",
        f"1.{sum(RELEASES[new])}",
    )
    assert {component.name for component in update.components(UNCHANGED)} == {str(one.id) for one in OTHERS}
    assert not update.removed
    document = update_document(update)
    (told,) = document["components"]["changed"]
    assert (told["id"], told["parts"]) == ("rpm/fw", list(VENDORS[:2]))
    assert not any("·" in ident for ident in ids(document))
    text = f"(3.8 MB of 9.0 MB, {VENDORS[0]}, {VENDORS[1]})"
    assert any(line.endswith(text) for line in change_lines(update))
    assert "/usr/lib/firmware/amdgpu" in update_markdown(update)
    cells = [
        cell.text for part in update_page(update, ()).sections for row in part.rows for cell in row.cells
    ]
    assert any(text.strip("()") in cell for cell in cells)


def test_what_stayed_is_told_without_its_parts(releases: list[ImageFacts]) -> None:
    update = compare(releases[0], releases[1])
    riding = [reason(entry) for entry in update.layers if entry.downloaded and entry.of(UNCHANGED)]
    assert any("rpm/fw: 5.2 MB of 9.0 MB" in text for text in riding)
    assert not any("nvidia" in text for text in riding)


def test_a_layer_shows_its_share_of_a_component(releases: list[ImageFacts]) -> None:
    facts = releases[2]
    shown = [contents(one) for one in facts.layers]
    assert f"rpm/fw: 3.8 MB of 9.0 MB, {VENDORS[0]}, {VENDORS[1]}" in shown
    assert f"rpm/fw: 5.2 MB of 9.0 MB, {VENDORS[2]}, {VENDORS[3]} and 2 more" in shown
    document = image_document(facts)
    assert not any("·" in ident for ident in ids(document))
    named = [one for entry in document["layers"] for one in entry["components"] if one["id"] == "rpm/fw"]
    assert sorted(one["parts"] for one in named) == [list(VENDORS[:2]), list(VENDORS[2:])]
    assert {one["version"] for one in named} == {f"1.{sum(RELEASES[2])}"}
    # components are counted as people count them
    assert document["ledger"]["components"] == len(OTHERS) + 1
    assert [(one.changed, one.new) for one in facts.releases] == [(0, 21), (1, 0), (1, 0)]
    assert json.dumps(document)


def test_a_page_has_a_rectangle_for_the_parts_of_each_layer(releases: list[ImageFacts]) -> None:
    pytest.importorskip("squarify")
    facts = releases[2]
    numbers = [one.number for one in facts.layers if any(held.parts for held in one.held)]
    component = firmware(RELEASES[2])
    placed = {number - 1: {component.id: 1000 * number} for number in numbers}
    page = image_page(facts, Contents((component,), {component.id: 1}, placed))
    boxes = {box.name: box for part in page.sections for box in part.boxes}
    assert set(boxes) == {f"rpm/fw: {VENDORS[0]}", f"rpm/fw: {VENDORS[2]}"}
    # what changes in each update is hot, the rest is not
    assert [boxes[f"rpm/fw: {VENDORS[at]}"].heat for at in (0, 2)] == [1.0, 0.0]
    rows = [row.cells[0].text for part in page.sections if part.id == "components" for row in part.rows]
    assert sorted(rows) == [
        f"rpm/fw: {VENDORS[0]}, {VENDORS[1]}",
        f"rpm/fw: {VENDORS[2]}, {VENDORS[3]} and 2 more",
    ]


def test_folded_components_are_counted() -> None:
    names = [f"{sha(str(number))[7:19]}" for number in range(2500)]
    components = [
        Component(ComponentId("rpm", name), 1000 + number, bytes.fromhex(sha(name)[7:23]), version="1")
        for number, name in enumerate(names)
    ]
    facts, ledger = described(components, None, 0)
    assert len(ledger.components) < 2000
    assert facts.components == 2500
    assert sum(len(one.held) + one.more for one in facts.layers) == 2500
    assert not any("folded" in contents(one) for one in facts.layers)
    document = image_document(facts)
    assert document["ledger"]["components"] == 2500
    assert all(one["version"] in ("1", "") for entry in document["layers"] for one in entry["components"])
    # a list of packages without the folded ones would tell of changes that were none
    assert installed_packages("docker://registry.example/image", facts) is None
    with_all, _ = described(components[:100], None, 0)
    assert installed_packages("docker://registry.example/image", with_all) is not None
    more = [*components, Component(ComponentId("rpm", "new"), 5000, b"12345678")]
    again, _ = described(more, ledger, 1)
    update = compare(facts, again)
    assert {component.name for component in update.components(CHANGED)} == set()
    assert not update.removed


def test_a_page_shows_names_as_a_terminal_does(repository: Path) -> None:
    """Neither a character that turns the text around nor an undecodable byte hides what a name is."""
    page = Page("img\u202egpj.exe", "<b>", [("a\udcff", "\x1b[31m")], [])
    shown = render(page, repository / "templates")
    assert "img\\u202egpj.exe" in shown
    assert "a\\xff" in shown
    assert "\\x1b[31m" in shown
    assert "&lt;b&gt;" in shown
