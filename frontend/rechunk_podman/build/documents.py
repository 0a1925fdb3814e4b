"""JSON documents about a build: the plan, and the manifest with its components. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from rechunk_podman.build.image_ledger import expected_layers, stability_of
from rechunk_podman.build.pipeline import Prepared
from rechunk_podman.model import Component, ComponentId
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.planning.folding import unfold


def manifest_document(manifest: bytes, prepared: Prepared) -> bytes:
    """Return the manifest as JSON with the key components added, as chunkah's --write-manifest-to does.

    components: id -> file_count, size (bytes of its regular files), stability (0..1, of its layer,
        the least of several), files
        (absolute paths).
    """
    document = json.loads(manifest)
    # The last element is for the root directory, whose position is -1.
    sizes = np.append(prepared.tree.column("size"), 0)
    by_id = prepared.units
    stability: dict[ComponentId, float] = {}
    for layer in prepared.plan.layers:
        for unit in unfold(by_id[ident] for ident in layer.components):
            least = stability.get(unit.id.whole, 1.0)
            stability[unit.id.whole] = min(least, stability_of(layer))
    document["components"] = {
        str(component.id): {
            "file_count": len(component.positions),
            "size": int(sizes[component.positions].sum()),
            "stability": round(stability[component.id], 6),
            "files": ["/" + path for path in prepared.tree.paths_at(component.positions)],
        }
        for component in prepared.assignment.components
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def plan_document(prepared: Prepared, known: Collection[DiffId]) -> dict[str, Any]:
    """Return the plan: layers bottom first, each with its components, sizes (bytes) and rate.

    A component of which a layer holds only some parts has their names as `parts`. A layer also has the key
    diff_id if it is expected to be one of the known layers.
    """
    by_id = prepared.units
    expected = expected_layers(prepared.plan, known)
    layers: list[dict[str, Any]] = []
    for layer, diff_id in zip(prepared.plan.layers, expected, strict=True):
        document: dict[str, Any] = {
            "size": sum(by_id[ident].size for ident in layer.components),
            "rate": round(layer.rate, 6),
        }
        if diff_id is not None:
            document["diff_id"] = diff_id
        document["fee"] = layer.fee
        held = sorted(unfold(by_id[ident] for ident in layer.components), key=lambda unit: unit.id)
        document["components"] = [
            _component(ident, list(units)) for ident, units in groupby(held, key=lambda unit: unit.id.whole)
        ]
        layers.append(document)
    return {
        "max_layers": prepared.max_layers,
        "size": sum(component.size for component in by_id.values()),
        "layers": layers,
        "notes": list(prepared.plan.notes),
    }


def _component(ident: ComponentId, units: Sequence[Component]) -> dict[str, Any]:
    """Return what a layer holds of a component; with the names of the parts if that is not all of it."""
    document: dict[str, Any] = {"id": str(ident), "size": sum(unit.size for unit in units)}
    if units[0].id.part:
        document["parts"] = sorted(part.name for unit in units for part in unit.parts)
    return document
