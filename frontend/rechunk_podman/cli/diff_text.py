"""An update as text for people: the reason for each download, the changed components, the totals."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.cli.lint_text import path_text
from rechunk_podman.cli.tables import NAMES, first_of, shortened, size_of
from rechunk_podman.explain.causes import TEXTS, causes
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
from rechunk_podman.explain.inspect import LayerFacts
from rechunk_podman.lint.layers import LayerChange
from rechunk_podman.units import human_size, plural

CHANGES = 40
"""The number of components of each kind that are shown."""


def contents(layer: LayerFacts) -> str:
    """Return the first components of a layer; if they are unknown, the command that made the layer."""
    if not layer.held:
        more = plural(layer.more, "component")
        return more if layer.more else layer.created_by or "(nothing is said of it)"
    return first_of([held.text for held in layer.held], layer.more)


def reason(entry: LayerUpdate) -> str:
    """Return why a layer is downloaded, in one line."""
    if entry.status == RECOMPRESSED:
        return f"recompressed: the content of layer {entry.old} in another blob: {contents(entry.layer)}"
    if not entry.components:
        return f"new layer: {contents(entry.layer)}"
    parts = [
        f"{status}: {first_of([component.text for component in found])}"
        for status in (CHANGED, NEW)
        if (found := entry.of(status))
    ]
    if entry.removed:
        parts.append(f"removed: {first_of(entry.removed)}")
    unknown = [component.held.text for component in entry.of(UNKNOWN)]
    if unknown or entry.layer.more:
        parts.append(f"something in: {first_of(unknown, entry.layer.more)}")
    riders = [component.held.folded for component in entry.of(UNCHANGED)]
    if riders:
        text = f"along for the ride{_ride(entry)}: {first_of(riders)}"
        if not parts:
            numbers = entry.came_from[:NAMES]
            layers = ("layer " if len(numbers) == 1 else "layers ") + ", ".join(map(str, numbers))
            text = f"packed anew (from {layers}), {text}"
        parts.append(text)
    return "; ".join(parts)


def _ride(entry: LayerUpdate) -> str:
    if entry.ride_known:
        return f" ({human_size(entry.ride_bytes)})"
    return f" (at least {human_size(entry.ride_bytes)})" if entry.ride_bytes else ""


def change_lines(update: Update) -> list[str]:
    """Return the changed, new and removed components of the whole image."""
    groups = {
        "changed": update.components(CHANGED),
        "new": update.components(NEW),
        "removed": update.removed,
    }
    lines = []
    for title, found in groups.items():
        if found:
            lines.append(f"{title}: {len(found)}")
            lines += shortened([component.text for component in found], CHANGES, "--json prints all")
    return lines


def total_lines(update: Update) -> list[str]:
    """Return the bytes and layers that a client downloads, keeps and unpacks."""
    downloaded, whole = human_size(update.downloaded), size_of(update.new.size)
    layers = f"{update.count(CHANGED, RECOMPRESSED)} of {plural(len(update.layers), 'layer')}"
    lines = [f"download: {downloaded} of {whole}, {layers}"]
    if update.unknown_sizes:
        lines.append(f"  and {plural(update.unknown_sizes, 'layer')} of unknown size")
    lines[1:1] = cause_lines(update)
    lines.append(f"kept: {human_size(update.bytes(KEPT))}, {plural(update.count(KEPT), 'layer')}")
    if update.first_changed is None:
        return [*lines, "local storage unpacks nothing"]
    size, first = human_size(update.reextracted), update.first_changed
    layers = plural(len(update.layers) - first + 1, "layer")
    return [
        *lines,
        f"local storage unpacks {size}, {layers}: the stacks of both images differ from number {first} on, "
        "and each layer from there on is unpacked anew, downloaded or not",
    ]


def cause_lines(update: Update) -> list[str]:
    """Return the bytes of each cause, the most expensive first."""
    found = causes(update)
    sizes = [("at least " if cause.at_least else "") + human_size(cause.bytes) for cause in found]
    width = max(map(len, sizes), default=0)
    return [f"  {size:>{width}}  {TEXTS[cause.name]}" for size, cause in zip(sizes, found, strict=True)]


def file_lines(changes: Sequence[LayerChange]) -> list[str]:
    """Return the paths that differ, below a line for each layer that was read."""
    lines = []
    for layer in changes:
        if layer.changes:
            lines.append(f"layer {layer.number}, {size_of(layer.size)}:")
            lines += [f"  {path_text(change)}" for change in layer.changes]
    return lines
