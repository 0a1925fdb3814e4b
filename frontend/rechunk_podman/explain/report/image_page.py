"""The page of one image: a treemap, a table of components, the record of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from rechunk_podman.explain.held import Held, whole_of
from rechunk_podman.explain.inspect import ImageFacts
from rechunk_podman.explain.report.chart import dots
from rechunk_podman.explain.report.page import Cell, Page, Row, Section, size_cell
from rechunk_podman.explain.report.treemap import Leaf, treemap
from rechunk_podman.history.release import Contents
from rechunk_podman.model import PART_SIGN
from rechunk_podman.planning.ledger import ComponentRecord
from rechunk_podman.units import human_size, plural

_LAYER_COLUMNS = (
    ("layer", True),
    ("size", True),
    ("changes", True),
    ("components", True),
    ("largest", False),
)
LARGEST = 4
"""Components that the row of a layer names."""
MOST_RECORDED = 40
"""Components in the chart of the record of changes."""


def image_page(facts: ImageFacts, contents: Contents) -> Page:
    """Return the page.

    Args:
        contents: the components with their bytes in each layer of the image.

    Raises:
        UsageError: as treemap().
    """
    records = _by_component(facts.units.records)
    held = {(layer.number, one.id): one for layer in facts.layers for one in layer.held if one.parts}
    versions = {str(c.id): c.version for c in contents.components}
    layers: dict[int, list[Leaf]] = {}
    rows = []
    for index, placed in contents.placed.items():
        for ident, size in placed.items():
            name = str(ident)
            parts = held.get((index + 1, name))
            heat, told = _heat(records.get(name) if parts is None else _of_parts(parts, facts))
            label = f"{name} {versions[name]}, {human_size(size)} in layer {index + 1}{told}"
            short = name
            if parts is not None:
                label, short = f"{label}: {parts.names}", f"{name}: {parts.parts[0]}"
            layers.setdefault(index + 1, []).append(Leaf(name, short, label, size, heat))
            cells = (
                Cell(name if parts is None else f"{name}: {parts.names}"),
                Cell(versions[name]),
                size_cell(size),
                Cell(str(index + 1), index + 1),
                Cell("", -1) if heat is None else Cell(f"{heat:.0%}", heat),
            )
            rows.append(Row(cells, name))
    rows.sort(key=lambda row: -(row.cells[2].number or 0))
    boxes, frames = treemap(layers)
    columns = (("component", False), ("version", False), ("size", True), ("layer", True), ("changes", True))
    sections = [
        Section("map", "Layers and components by size", boxes=boxes, frames=frames),
        Section("components", "Components", columns=columns, rows=rows, search=True),
        Section("layers", "Layers", columns=_LAYER_COLUMNS, rows=_layer_rows(facts, layers)),
        *_record(facts, records),
    ]
    whole = "unknown" if facts.size is None else human_size(facts.size)
    count = len(contents.components)
    found = [("of layers", whole), ("layers", str(len(facts.layers))), ("components", str(count))]
    if facts.expected is not None:
        found.append(("expected per update", human_size(facts.expected)))
    if facts.releases:
        found.append(("releases on record", str(len(facts.releases))))
    lead = "Sizes of components are estimates of their bytes in a layer that zstd compresses."
    return Page(facts.name, lead, found, sections)


def _layer_rows(facts: ImageFacts, layers: Mapping[int, Sequence[Leaf]]) -> list[Row]:
    rows = []
    for layer in facts.layers:
        leaves = sorted(layers.get(layer.number, ()), key=lambda leaf: -leaf.size)
        cells = (
            Cell(str(layer.number), layer.number),
            size_cell(layer.size),
            Cell("", -1) if layer.rate is None else Cell(f"{layer.rate:.0%}", layer.rate),
            Cell(str(len(leaves)), len(leaves)),
            Cell(", ".join(leaf.name for leaf in leaves[:LARGEST])),
        )
        rows.append(Row(cells))
    return rows


def _by_component(units: Mapping[str, ComponentRecord]) -> dict[str, ComponentRecord]:
    """Return a record for each component: it changed wherever any of its units did."""
    found: dict[str, ComponentRecord] = {}
    for name, record in units.items():
        before = found.setdefault(whole_of(name), record)
        found[whole_of(name)] = replace(
            before, changes=before.changes | record.changes, age=max(before.age, record.age)
        )
    return found


def _of_parts(held: Held, facts: ImageFacts) -> ComponentRecord | None:
    """Return the record of the parts that a layer holds of a component."""
    names = [f"{held.id}{PART_SIGN}{part}" for part in held.parts]
    units = {name: facts.units.records[name] for name in names if name in facts.units.records}
    return _by_component(units).get(held.id)


def _heat(record: ComponentRecord | None) -> tuple[float | None, str]:
    """Return the share of recorded updates in which a component changed, and a text about it."""
    if record is None or record.age < 2:
        return None, ""
    # the bit of the oldest release says that the component was new there
    changed = (record.changes & ~(1 << (record.age - 1))).bit_count()
    return changed / (record.age - 1), f", changed in {changed} of {plural(record.age - 1, 'update')}"


def _record(facts: ImageFacts, records: dict[str, ComponentRecord]) -> list[Section]:
    releases = facts.releases
    if len(releases) < 2:
        return []
    count = len(releases)
    changed = [
        (name, [bool(record.changes >> (count - 1 - index) & 1) for index in range(count)])
        for name, record in records.items()
        if record.changes & ((1 << min(count - 1, max(record.age - 1, 0))) - 1)
    ]
    changed.sort(key=lambda row: (-sum(row[1]), row[0]))
    shown = changed[:MOST_RECORDED]
    note = f"{len(changed)} of {len(records)} components changed since the first release on record."
    if len(changed) > len(shown):
        note += f" The {len(shown)} that changed most often are shown."
    return [
        Section(
            "record",
            "Record of changes",
            note,
            svg=dots("Record of changes", [_day(r.date) for r in releases], shown),
        )
    ]


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"
