"""The page of an update: what is downloaded and why, layer by layer; versions; metadata-only changes."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.explain.causes import TEXTS, causes, verdict
from rechunk_podman.explain.download import (
    CHANGED,
    KEPT,
    NEW,
    RECOMPRESSED,
    UNCHANGED,
    UNKNOWN,
    LayerUpdate,
    Update,
)
from rechunk_podman.explain.report.page import Bar, Cell, Page, Row, Section, size_cell
from rechunk_podman.units import human_size, plural


def update_page(update: Update, metadata: Sequence[tuple[int, str, str]] | None) -> Page:
    """Return the page.

    Args:
        metadata: (number of the layer, path, the attributes that differ) of files whose content is the same;
            None if no layer was read.
    """
    found = causes(update)
    most = max((cause.bytes for cause in found), default=0) or 1
    downloads = sorted((e for e in update.layers if e.downloaded), key=lambda e: -(e.layer.size or 0))
    components = [
        Row((Cell(c.held.text), Cell(status), Cell(c.old_version), Cell(c.new_version)))
        for status, those in (
            ("changed", update.components(CHANGED)),
            ("new", update.components(NEW)),
            ("removed", update.removed),
        )
        for c in those
    ]
    sections = [
        Section(
            "causes",
            "Why",
            bars=[
                Bar(TEXTS[c.name], round(100 * c.bytes / most, 2), human_size(c.bytes), "s1") for c in found
            ],
        ),
        Section(
            "layers",
            "Layers to download",
            "" if downloads else "None.",
            columns=(
                ("layer", True),
                ("download", True),
                ("changed", False),
                ("came along for the ride", False),
            )
            if downloads
            else (),
            rows=[_layer(entry) for entry in downloads],
        ),
        Section(
            "components",
            "Components",
            "" if components else "No component is known to have changed.",
            columns=(("component", False), ("status", False), ("from", False), ("to", False))
            if components
            else (),
            rows=components,
            search=bool(components),
        ),
    ]
    if metadata is not None:
        section = Section(
            "metadata",
            "Files whose metadata alone changed",
            "" if metadata else "None.",
            columns=(("path", False), ("attributes", False), ("layer", True)) if metadata else (),
            rows=[
                Row((Cell(f"/{path}"), Cell(what), Cell(str(number), number)))
                for number, path, what in metadata
            ],
            search=bool(metadata),
        )
        sections.append(section)
    facts = [
        ("to download", human_size(update.downloaded)),
        (f"of {plural(len(update.layers), 'layer')}", str(update.count(CHANGED, RECOMPRESSED))),
        ("kept", human_size(update.bytes(KEPT))),
        ("unpacked by local storage", human_size(update.reextracted)),
    ]
    return Page(f"{update.old.name} → {update.new.name}", verdict(update), facts, sections)


def _layer(entry: LayerUpdate) -> Row:
    names = [component.text for component in entry.of(CHANGED)]
    names += [f"{component.text} (new)" for component in entry.of(NEW)]
    names += [f"{name} (removed)" for name in entry.removed]
    unknown = [component.held.text for component in entry.of(UNKNOWN)]
    if unknown:
        names.append(f"something in {', '.join(unknown)}")
    if entry.status == RECOMPRESSED:
        names = ["nothing: compressed anew"]
    riders = [component.held.folded for component in entry.of(UNCHANGED)]
    along = f"{plural(len(riders), 'component')}: {', '.join(riders)}" if riders else ""
    number = entry.layer.number
    made = "; ".join(names) or ("nothing: packed anew" if entry.components else entry.layer.created_by)
    return Row((Cell(str(number), number), size_cell(entry.layer.size), Cell(made), Cell(along)))
