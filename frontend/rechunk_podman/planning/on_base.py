"""Planning on a base: an image derived from a rechunked one keeps the layers that it shares with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from rechunk_podman.errors import UsageError
from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Placement, Plan, PlannedLayer
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.planning.placement import obeys, shared_room
from rechunk_podman.planning.plan import plan

OWN_SHARE = 8
"""If the base fills all layers, one in OWN_SHARE is kept for the derived image's own components."""


def plan_on_base(
    components: Iterable[Component],
    previous: Ledger | None,
    base: Ledger,
    *,
    max_layers: int,
    now: int,
    closed: Collection[bytes] = (),
) -> Plan:
    """Plan like plan(), but put the unchanged layers of the base image first, as they are and in its order.

    Clients that have the base, or another image on it, have these layers already. If they leave too few
    layers for the rest, the smallest of them are not kept. Layers of the placement BOTTOM are just above
    those. A layer of the base with a component of the placement TOP is not kept.

    Args:
        previous: the Ledger of the image's own predecessor; None if there was none.
        base: the Ledger of the image that this one is derived from.
        max_layers: at least 1.
        now, closed: as in plan().

    Pure: the same arguments, in any order of the components, give the same Plan.

    Raises:
        UsageError: max_layers is below 1, or too low for the components that need a layer of their own.
        ValueError: two components of one id.
    """
    if max_layers < 1:
        raise UsageError(f"cannot plan {max_layers} layers", hint="--max-layers takes 1 or more")
    present: dict[ComponentId, Component] = {}
    for component in components:
        if component.id in present:
            raise ValueError("two components of one id")
        present[component.id] = component
    shared_room(list(present.values()), max_layers)
    pinned = pinned_layers(present, base, max_layers)
    held = {ident for layer in pinned for ident in layer.components}
    rest = [component for ident, component in present.items() if ident not in held]
    if not rest:
        return Plan(tuple(pinned))
    memory = without_components(base if previous is None else previous, held)
    own = plan(rest, memory, max_layers=max_layers - len(pinned), now=now, closed=closed)
    if not pinned:
        return own
    return Plan((*pinned, *own.layers), (f"{len(pinned)} layers are those of the base image", *own.notes))


def without_components(ledger: Ledger, held: Collection[ComponentId]) -> Ledger:
    """Return the Ledger without the layers that hold only `held` components, for a plan of the others.

    A layer that also holds other components keeps all its names. Some of them are not planned, so it counts
    as changed; its bytes will indeed change.
    """
    layers = tuple(layer for layer in ledger.layers if not all(ident in held for ident in layer.components))
    return replace(ledger, layers=layers)


def pinned_layers(
    present: Mapping[ComponentId, Component], base: Ledger, max_layers: int
) -> list[PlannedLayer]:
    """Return the layers of the base to keep, in its order: at most max_layers, fewer if others follow."""
    if base.tar_format != TAR_FORMAT:
        return []
    clean = [
        (index, layer)
        for index, layer in enumerate(base.layers)
        if all(ident in present and not base.changed(present[ident]) for ident in layer.components)
        and obeys([present[ident] for ident in layer.components])
        and present[layer.components[0]].placement is not Placement.TOP
    ]
    held = {ident for _, layer in clean for ident in layer.components}
    others = [component for ident, component in present.items() if ident not in held]
    apart = [component for component in others if component.placement is not Placement.SHARED]
    if len(apart) == len(others) and len(clean) + len(others) <= max_layers:
        return [layer for _, layer in clean]
    room = max_layers - max(len(apart) + 1, min(len(others), max_layers // OWN_SHARE))
    if len(clean) <= room:
        return [layer for _, layer in clean]
    sizes = {index: sum(present[ident].size for ident in layer.components) for index, layer in clean}
    # without theirs, components that must be alone would need another layer
    alone = {
        index for index, layer in clean if present[layer.components[0]].placement is not Placement.SHARED
    }
    kept = set(sorted(sizes, key=lambda index: (index not in alone, -sizes[index], index))[:room])
    return [layer for index, layer in clean if index in kept]
