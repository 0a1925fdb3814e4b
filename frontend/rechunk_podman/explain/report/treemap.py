"""The layout of a treemap of layers and their components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from rechunk_podman.errors import UsageError
from rechunk_podman.explain.report.page import Box
from rechunk_podman.units import human_size

_LEAST = 1e-4
"""The share of the whole area of the smallest rectangle."""


class Leaf(NamedTuple):
    """A component in a layer. size: bytes."""

    key: str
    name: str
    label: str
    size: float
    heat: float | None


def require_library() -> None:
    """Raise UsageError if the library of the layout is not installed."""
    if find_spec("squarify") is None:
        raise UsageError(
            "the page of an image needs the library squarify", hint="pip install 'rechunk-podman[report]'"
        )


def treemap(layers: Mapping[int, Sequence[Leaf]]) -> tuple[list[Box], list[Box]]:
    """Return the rectangles of all components, and those of the layers that hold them.

    The library has to be there: see require_library().
    """
    import squarify

    total = sum(leaf.size for leaves in layers.values() for leaf in leaves) or 1.0
    sums = {
        n: sum(max(leaf.size, total * _LEAST) for leaf in leaves) for n, leaves in layers.items() if leaves
    }
    order = sorted(sums, key=lambda n: -sums[n])
    boxes, frames = [], []
    outer = squarify.squarify(squarify.normalize_sizes([sums[n] for n in order], 100, 100), 0, 0, 100, 100)
    for number, place in zip(order, outer, strict=True):
        frames.append(_box(Leaf("", f"layer {number}", "", 0, None), place))
        leaves = sorted(layers[number], key=lambda leaf: -leaf.size)
        sizes = [max(leaf.size, total * _LEAST) for leaf in leaves]
        areas = squarify.normalize_sizes(sizes, place["dx"], place["dy"])
        inner = squarify.squarify(areas, place["x"], place["y"], place["dx"], place["dy"])
        boxes += [_box(leaf, inside) for leaf, inside in zip(leaves, inner, strict=True)]
    return boxes, frames


def _box(leaf: Leaf, place: Mapping[str, float]) -> Box:
    x, y, width, height = (round(place[name], 3) for name in ("x", "y", "dx", "dy"))
    heat = None if leaf.heat is None else round(leaf.heat, 3)
    size = human_size(leaf.size) if leaf.key else ""
    return Box(leaf.key, leaf.name, leaf.label, x, y, width, height, heat, size)
