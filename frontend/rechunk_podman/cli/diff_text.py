"""An update as text for people: the reason for each download, the changed components, the totals."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.cli.tables import NAMES, first_of, shortened, size_of
from rechunk_podman.explain.download import (
    CHANGED,
    KEPT,
    NEW,
    RECOMPRESSED,
    UNCHANGED,
    UNKNOWN,
    ComponentUpdate,
    LayerUpdate,
    Update,
)
from rechunk_podman.explain.inspect import LayerFacts
from rechunk_podman.units import human_size

CHANGES = 40
"""The number of components of each kind that are shown."""


def contents(layer: LayerFacts) -> str:
    """Return the first components of a layer; if they are not known, the command that made it."""
    if not layer.components:
        return layer.created_by or "(nothing is said of it)"
    return first_of(layer.components, layer.more)


def reason(entry: LayerUpdate) -> str:
    """Return why a layer is downloaded, in one line."""
    if entry.status == RECOMPRESSED:
        return f"recompressed: the content of layer {entry.old} in another blob: {contents(entry.layer)}"
    if not entry.components:
        return f"new layer: {contents(entry.layer)}"
    parts = [
        f"{status}: {first_of([change_text(component) for component in found])}"
        for status in (CHANGED, NEW)
        if (found := entry.of(status))
    ]
    if entry.removed:
        parts.append(f"removed: {first_of(entry.removed)}")
    unknown = _names(entry.of(UNKNOWN))
    if unknown or entry.layer.more:
        parts.append(f"something in: {first_of(unknown, entry.layer.more)}")
    riders = _names(entry.of(UNCHANGED))
    if riders:
        text = f"along for the ride{_ride(entry)}: {first_of(riders)}"
        if not parts:
            layers = ", ".join(map(str, entry.came_from[:NAMES]))
            text = f"packed anew (from layers {layers}), {text}"
        parts.append(text)
    return "; ".join(parts)


def _names(components: Sequence[ComponentUpdate]) -> list[str]:
    return [component.name for component in components]


def _ride(entry: LayerUpdate) -> str:
    if entry.ride_known:
        return f" ({human_size(entry.ride_bytes)})"
    return f" (at least {human_size(entry.ride_bytes)})" if entry.ride_bytes else ""


def change_text(component: ComponentUpdate) -> str:
    """Return the name of a component, and its versions if they are known."""
    old, new = component.old_version, component.new_version
    if old and new and old != new:
        return f"{component.name} {old} → {new}"
    return f"{component.name} {new or old}".rstrip()


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
            lines += shortened([change_text(c) for c in found], CHANGES, "--json prints all")
    return lines


def total_lines(update: Update) -> list[str]:
    """Return the bytes and layers that a client downloads, keeps and unpacks."""
    count = update.count(CHANGED, RECOMPRESSED)
    whole = size_of(update.new.size)
    lines = [f"download: {human_size(update.downloaded)} of {whole}, {count} of {len(update.layers)} layers"]
    if update.unknown_sizes:
        lines.append(f"  and {update.unknown_sizes} layers of unknown size")
    if update.count(RECOMPRESSED):
        size = human_size(update.bytes(RECOMPRESSED))
        lines.append(f"  of which recompressed, with content that the client has: {size}")
    lines.append(f"kept: {human_size(update.bytes(KEPT))}, {update.count(KEPT)} layers")
    if update.first_changed is None:
        return [*lines, "local storage unpacks nothing"]
    size = human_size(update.reextracted)
    return [*lines, f"local storage unpacks from layer {update.first_changed} on: {size}"]
