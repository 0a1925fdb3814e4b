"""The layers of an image and their components as a tree of lines."""

from __future__ import annotations

from collections.abc import Iterator

from rechunk_podman.cli.tables import size_of
from rechunk_podman.explain.inspect import ImageFacts, LayerFacts


def tree_lines(facts: ImageFacts) -> Iterator[str]:
    """Yield the lines: the image, below it each layer, below each layer its components."""
    versions = facts.units.versions
    yield f"{facts.name}  {size_of(facts.size, '')}".rstrip()
    for layer in facts.layers:
        last = layer is facts.layers[-1]
        yield f"{'└─' if last else '├─'} {_layer(layer)}"
        below = "   " if last else "│  "
        leaves = [f"{held.text}  {versions.get(held.id, '')}".rstrip() for held in layer.held]
        if layer.more:
            leaves.append(f"and {layer.more} more")
        for number, leaf in enumerate(leaves, 1):
            yield f"{below}{'└─' if number == len(leaves) else '├─'} {leaf}"


def _layer(layer: LayerFacts) -> str:
    text = f"layer {layer.number}  {size_of(layer.size)}"
    if layer.rate is not None:
        text += f", changes in {layer.rate:.0%} of updates"
    if not layer.components:
        text += f": {layer.created_by or '(nothing is said of it)'}"
    return text
