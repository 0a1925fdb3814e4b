"""Replacement of the figures that stand between two comments of a page in docs/."""

from __future__ import annotations

from pathlib import Path


def write_figures(document: Path, begin: str, end: str, text: str) -> None:
    """Replace the text of a page between the lines `begin` and `end`.

    Raises:
        ValueError: a line does not occur exactly once.
    """
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end)
    document.write_text(f"{before}{begin}{text}{end}{after}")
