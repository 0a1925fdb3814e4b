"""Planning with layers of other tools that stay as they are: the rest is planned above them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from rechunk_podman.model import Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.planning.ledger import Ledger, quantized
from rechunk_podman.planning.on_base import OWN_SHARE, without_components
from rechunk_podman.planning.placement import layers_needed
from rechunk_podman.planning.plan import plan
from rechunk_podman.planning.rates import first_rate


def room_for_kept(others: Sequence[Component], max_layers: int) -> int:
    """Return the largest number of kept layers that leaves enough layers for the other components."""
    wanted = min(len(others), max(max_layers // OWN_SHARE, 1))
    return max_layers - max(wanted, layers_needed(others))


def plan_on_kept(
    components: Iterable[Component],
    previous: Ledger | None,
    kept: Sequence[tuple[bytes, tuple[ComponentId, ...]]],
    foreign: Collection[bytes],
    *,
    max_layers: int,
    now: int,
    closed: Collection[bytes] = (),
) -> Plan:
    """Plan like plan(), but put kept layers first, in their order.

    Args:
        previous: the Ledger of the previous image; None if it has none.
        kept: prefix of the diff_id and components, which are in no other layer, of each layer that stays; an
            id that is not among the components stands for a layer that has none.
        foreign: prefixes of all layers of the previous image that another tool made. Those that are not kept
            are planned anew, as if everything in them had changed.
        max_layers: more than the number of kept layers, unless they hold all components.
        now, closed: as in plan().

    Pure: the same arguments, in any order of the components, give the same Plan.

    Raises:
        UsageError: as plan().
    """
    by_id = {component.id: component for component in components}
    layers = tuple(
        PlannedLayer(
            tuple(sorted(members)), _rate(by_id[ident] for ident in members if ident in by_id), prefix
        )
        for prefix, members in kept
    )
    held = {ident for _, members in kept for ident in members}
    rest = [component for ident, component in by_id.items() if ident not in held]
    if not rest:
        return Plan(layers)
    memory = None
    if previous is not None:
        own = tuple(layer for layer in previous.layers if layer.prefix not in foreign)
        memory = without_components(replace(previous, layers=own), held)
    planned = plan(
        rest, memory, max_layers=max_layers - len(layers), now=now, closed=closed, others=len(layers)
    )
    return replace(planned, layers=(*layers, *planned.layers))


def _rate(components: Iterable[Component]) -> float:
    """Return the expected share of updates in which one of the components changes, without memory."""
    stays = 1.0
    for component in components:
        stays *= 1.0 - first_rate(component)
    return quantized(1.0 - stays)
