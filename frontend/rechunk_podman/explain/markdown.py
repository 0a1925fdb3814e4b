"""An update as Markdown, for pull requests and the summary of a CI job. Pure.

Source: GitHub Flavored Markdown ("Tables", "HTML Blocks").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rechunk_podman.explain.causes import TEXTS, causes, verdict
from rechunk_podman.explain.download import (
    CHANGED,
    NEW,
    RECOMPRESSED,
    UNCHANGED,
    UNKNOWN,
    LayerUpdate,
    Update,
)
from rechunk_podman.units import human_size, plural

MOST_ROWS = 200
"""The largest number of rows of a table. The summary of a step on GitHub is at most 1 MiB."""

_NAMES = 6
"""The number of names in a cell."""

_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")


_MENTION = re.compile(r"(?<!\w)@(?=[A-Za-z0-9])")
"""The beginning of a name (npm/@types/node) that a forge would notify; a space of no width ends it."""


def escape(text: str) -> str:
    """Return foreign text as one line of Markdown in which nothing is markup, and nobody is mentioned."""
    return _MENTION.sub("@&#8203;", _SPECIAL.sub(r"\\\1", " ".join(str(text).split())))


def update_markdown(update: Update, paths: Sequence[str] = ()) -> str:
    """Return an update as Markdown: the verdict, its causes, and folded up the layers and the packages.

    Args:
        paths: lines about the paths that differ.
    """
    lines = [
        f"### Update: {escape(update.old.name)} → {escape(update.new.name)}",
        "",
        escape(verdict(update)),
        "",
    ]
    found = causes(update)
    if found:
        rows = [
            (
                ("at least " if cause.at_least else "") + human_size(cause.bytes),
                str(cause.layers),
                TEXTS[cause.name],
            )
            for cause in found
        ]
        lines += [*_table(("download", "layers", "cause"), rows, numbers=2), ""]
    downloads = sorted((e for e in update.layers if e.downloaded), key=lambda e: -(e.layer.size or 0))
    if downloads:
        cells = [_layer(entry) for entry in downloads]
        lines += _folded(
            f"{plural(len(downloads), 'layer')} of {len(update.layers)} to download",
            _table(("layer", "download", "changed", "came along"), cells, numbers=2),
        )
    packages = [
        (escape(component.held.text), escape(component.old_version), escape(component.new_version))
        for component in (*update.components(CHANGED), *update.components(NEW), *update.removed)
    ]
    if packages:
        title = f"{plural(len(packages), 'component')} changed, new or removed"
        lines += _folded(title, _table(("component", "from", "to"), packages))
    if paths:
        more = len(paths) - MOST_ROWS
        shown = [*paths[:MOST_ROWS], *([f"… and {more} more"] if more > 0 else [])]
        lines += _folded("Paths that differ", [f"* {escape(line)}" for line in shown])
    lines += [f"* {escape(text)}" for text in update.notes]
    return "\n".join(lines).rstrip() + "\n"


def _layer(entry: LayerUpdate) -> tuple[str, str, str, str]:
    size = "unknown" if entry.layer.size is None else human_size(entry.layer.size)
    if entry.status == RECOMPRESSED:
        changed = "nothing: compressed anew"
    else:
        names = [component.held.text for status in (CHANGED, NEW) for component in entry.of(status)]
        names += [f"{name} (removed)" for name in entry.removed]
        names += [f"something in {component.held.text}" for component in entry.of(UNKNOWN)]
        changed = _first(names, entry.layer.more) or (entry.layer.created_by if not entry.components else "")
    riders = _first([component.held.folded for component in entry.of(UNCHANGED)])
    return str(entry.layer.number), size, escape(changed), escape(riders)


def _first(names: Sequence[str], more: int = 0) -> str:
    more += max(len(names) - _NAMES, 0)
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> Iterator[str]:
    """Yield the lines of a table; the first `numbers` columns are aligned to the right."""
    yield f"| {' | '.join(columns)} |"
    yield "|" + "|".join("---:" if index < numbers else "---" for index in range(len(columns))) + "|"
    for row in rows[:MOST_ROWS]:
        yield f"| {' | '.join(row)} |"
    if len(rows) > MOST_ROWS:
        yield f"| {' | '.join(['…', f'and {len(rows) - MOST_ROWS} more', *[''] * (len(columns) - 2)])} |"


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]
