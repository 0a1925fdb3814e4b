"""The limit of the size of layers, held by what their tars really have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.assign import Assignment
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write.stream import TarSource
from rechunk_podman.planning.layout import Layout
from rechunk_podman.units import human_size

log = logging.getLogger(__name__)

ATTEMPTS = 6
"""The most plans that are made anew until all layers are within the limit."""

SURELY_WITHIN = 16
"""A layer of which planning expects one in SURELY_WITHIN of the limit is not measured."""


def within_limit(
    make: Callable[[int], Layout],
    tars_of: Callable[[Layout], TarSource],
    limit: int,
    unmoved: Collection[bytes],
) -> Layout:
    """Return the plan of which no layer that can be divided is larger than `limit` bytes.

    Planning estimates headers, and knows nothing of the directories above and of long names. If a layer turns
    out larger, the plan is made again for a lower limit. Log a warning if that does not help.

    Args:
        make: plans for a limit, in bytes.
        tars_of: returns the source of the tars of a plan.
        unmoved: prefixes of the diff_ids of layers that stay as they are.

    Raises:
        UsageError: as `make`, for `limit` itself.
    """
    layout = make(limit)
    asked = limit
    for _ in range(ATTEMPTS):
        divisible, largest = _largest(layout, tars_of, limit, unmoved)
        if divisible <= limit:
            break
        asked = asked * limit // divisible
        try:
            layout = make(asked)
        except UsageError:
            break
    else:
        divisible, largest = _largest(layout, tars_of, limit, unmoved)
    if largest > limit:
        log.warning(
            "a layer has %s, more than the limit of %s, and cannot be divided further",
            *(human_size(largest), human_size(limit)),
        )
    return layout


def written_mtimes(layout: Layout, assignment: Assignment) -> npt.NDArray[np.int64]:
    """Return the mtime of each position in its layer."""
    in_parts = [unit.positions for unit in layout.units if unit.id.part]
    mtimes: npt.NDArray[np.int64] = assignment.mtimes
    if not in_parts:
        return mtimes
    positions = np.concatenate(in_parts)
    mtimes = np.array(mtimes)
    mtimes[positions] = assignment.steady_mtimes[positions]
    return mtimes


def _largest(
    layout: Layout, tars_of: Callable[[Layout], TarSource], limit: int, unmoved: Collection[bytes]
) -> tuple[int, int]:
    """Return the bytes of the largest tar that planning can divide, and of the largest of several files.

    Tars that are surely within the limit do not count; a number is 0 if there are no others.
    """
    units = {unit.id: unit for unit in layout.units}
    tars: TarSource | None = None
    divisible = largest = 0
    for layer in layout.plan.layers:
        members = [units[ident] for ident in layer.components]
        expected = sum(unit.size for unit in members)
        own = np.concatenate([unit.positions for unit in members])
        if layer.prefix in unmoved or len(own) == 1 or expected * SURELY_WITHIN <= limit:
            continue
        tars = tars or tars_of(layout)
        size = tars.stream(own).size
        largest = max(largest, size)
        if sum(max(1, len(unit.parts)) for unit in members) > 1:
            divisible = max(divisible, size)
    return divisible, largest
