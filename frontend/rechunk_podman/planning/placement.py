"""Placements: layers of one component alone, at the bottom, at the top, or anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rechunk_podman.errors import UsageError
from rechunk_podman.model import Component, ComponentId, Placement, PlannedLayer

_ORDER = {Placement.BOTTOM: 0, Placement.TOP: 2}


def layers_needed(components: Iterable[Component]) -> int:
    """Return the smallest number of layers that hold these components as their placements demand."""
    found = list(components)
    alone = sum(component.placement is not Placement.SHARED for component in found)
    return alone + (alone < len(found))


def shared_room(components: Sequence[Component], max_layers: int) -> int:
    """Return the number of layers that are left for SHARED components; at least 1 if there are any.

    Raises:
        UsageError: there are too few layers.
    """
    needed = layers_needed(components)
    if needed > max_layers:
        raise UsageError(
            f"the groups need {needed} layers, but there may be only {max_layers}",
            context=["each isolated or pinned group, and each of its pieces, has a layer of its own"],
            hint="raise --max-layers, or isolate fewer groups",
        )
    return max_layers - sum(component.placement is not Placement.SHARED for component in components)


def obeys(members: Sequence[Component]) -> bool:
    """Return True if one layer may hold exactly these components."""
    return len(members) == 1 or all(component.placement is Placement.SHARED for component in members)


def sorted_by_placement(
    layers: Sequence[PlannedLayer], components: Iterable[Component]
) -> tuple[PlannedLayer, ...]:
    """Return the layers with those of BOTTOM first and those of TOP last, else in the given order."""
    placed: dict[ComponentId, int] = {
        component.id: _ORDER[component.placement] for component in components if component.placement in _ORDER
    }
    return tuple(sorted(layers, key=lambda layer: placed.get(layer.components[0], 1)))
