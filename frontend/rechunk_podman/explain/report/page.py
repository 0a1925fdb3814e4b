"""The parts of a page, and its rendering: one file of HTML with its style and script in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2

from rechunk_podman.units import human_size, printable


class Cell(NamedTuple):
    """A cell of a table. number: by which it is sorted; None for a text."""

    text: str
    number: float | None = None


class Row(NamedTuple):
    """A row of a table. key: of the rectangles that belong to it, or ""."""

    cells: Sequence[Cell]
    key: str = ""


class Box(NamedTuple):
    """A rectangle of a treemap, in percent of its width and height.

    heat: 0 (never changes) to 1 (in every update); None if it is unknown.
    size: in words.
    """

    key: str
    name: str
    label: str
    x: float
    y: float
    width: float
    height: float
    heat: float | None = None
    size: str = ""


class Bar(NamedTuple):
    """A bar. share: percent of the longest one. color: a name of the style sheet."""

    name: str
    share: float
    text: str
    color: str = "s0"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; empty fields are left out.

    svg: from chart.py, which escapes texts. keys: (name, color) of its lines.
    columns: (name, True for numbers).
    """

    id: str
    title: str
    note: str = ""
    boxes: Sequence[Box] = ()
    frames: Sequence[Box] = ()
    svg: str = ""
    keys: Sequence[tuple[str, str]] = ()
    bars: Sequence[Bar] = ()
    columns: Sequence[tuple[str, bool]] = ()
    rows: Sequence[Row] = ()
    search: bool = False

    @property
    def heated(self) -> bool:
        """True if the colour of any rectangle says how often it changes."""
        return any(box.heat is not None for box in self.boxes)


@dataclass(frozen=True, slots=True)
class Page:
    """A page. facts: (name, value)."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def size_cell(size: float | None) -> Cell:
    """Return the cell of a size in bytes; an empty one if it is unknown."""
    return Cell("", -1) if size is None else Cell(human_size(size), size)


def render(page: Page, templates: Path) -> str:
    """Return the HTML. Texts of images are escaped, and shown as in a terminal.

    Args:
        templates: the folder that contains `report`.
    """
    top = templates / "report"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(top),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    style, script = ((top / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    text = environment.get_template("page.html.j2").render(page=page, css=style, js=script)
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(value: object) -> object:
    """Return a text without control characters, in which names could look like others."""
    is_markup = hasattr(value, "__html__")
    return printable(value) if isinstance(value, str) and not is_markup else value
