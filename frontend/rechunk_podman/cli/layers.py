"""JSON documents and tables about the results of split and build. Sizes in bytes, layers bottom first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rechunk_podman.cli.tables import first_of, print_table
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.explain.inspect import LayerFacts
    from rechunk_podman.oci.documents import LayerRecord
    from rechunk_podman.oci.reference import Pinned, Target
    from rechunk_podman.split.request import SplitImage, SplitResult

COLUMNS = ("layer", "size", "components")


def storage_document(result: SplitResult) -> dict[str, Any]:
    """Return the result of split to storage or a file, for --json."""
    (image,) = result.images
    keys = ("diff_id", "size", "components", "more", "parts")
    layers = [{key: layer[key] for key in keys} for layer in _layers(image)]
    document = {
        "image": result.name,
        "source": image.source,
        "engine": result.engine.value,
        "size": sum(layer["size"] for layer in layers),
        "layers": layers,
    }
    return document if result.id is None else {**document, "id": result.id}


def push_document(
    result: SplitResult, targets: Sequence[Target], attached: Sequence[Pinned] | None = None
) -> dict[str, Any]:
    """Return the result of split to a registry, for --json, with each image of a list.

    Args:
        attached: the artifacts that were attached; None if none were asked for.
    """
    pushed: dict[str, Any] = {"digest": result.digest, "pushed": [str(target) for target in targets]}
    if attached is not None:
        pushed["attached"] = [str(report) for report in attached]
    if result.is_list:
        return {**pushed, "images": [_pushed(image) for image in result.images]}
    (image,) = result.images
    return {**pushed, **_pushed(image)}


def _pushed(image: SplitImage) -> dict[str, Any]:
    layers = _layers(image)
    listed = {} if image.platform is None else {"platform": image.platform, "digest": image.record.digest}
    return {
        **listed,
        "source": image.source,
        "size": sum(layer["size"] for layer in layers),
        "new": sum(layer["size"] for layer in layers if not layer["reused"]),
        "layers": layers,
    }


def _layers(image: SplitImage) -> list[dict[str, Any]]:
    from rechunk_podman.explain.held import whole_of
    from rechunk_podman.explain.inspect import describe

    return [
        {
            "diff_id": layer.diff_id,
            "digest": layer.descriptor.digest,
            "size": layer.descriptor.size,
            "reused": layer.descriptor.digest in image.reused,
            "components": list(dict.fromkeys(map(whole_of, _largest_first(facts, layer)))),
            "more": facts.more,
            "parts": {held.id: list(held.parts) for held in facts.held if held.parts},
        }
        for facts, layer in zip(describe(image.record).layers, image.record.layers, strict=True)
        if layer.descriptor is not None
    ]


def _largest_first(facts: LayerFacts, layer: LayerRecord) -> list[str]:
    """Return the names of a layer's units; the largest (named in its comment) come first."""
    from rechunk_podman.explain.inspect import parse_comment

    comment = "" if layer.history is None else layer.history.comment
    named = [name for name in parse_comment(comment, ours=True)[0] if name in facts.components]
    return [*named, *(name for name in facts.components if name not in named)]


def _with_parts(layer: dict[str, Any]) -> list[str]:
    """Return the ids of a layer's components, each with the names of the parts that are there."""
    parts = layer["parts"]
    return [
        f"{ident}: {first_of(parts[ident])}" if ident in parts else ident for ident in layer["components"]
    ]


def print_layers(document: dict[str, Any]) -> None:
    """Print a storage_document() as a table: layer, size, components, and a total."""
    rows = [
        (str(number), human_size(layer["size"]), first_of(_with_parts(layer), layer["more"]))
        for number, layer in enumerate(document["layers"], 1)
    ]
    total = (str(len(rows)), human_size(document["size"]), f"{len(rows)} layers in all")
    print_table(document["image"], COLUMNS, [*rows, total], numbers=COLUMNS[:2])


def print_plan(document: dict[str, Any]) -> None:
    """Print a plan (build/documents.py) as a table: layer, size, and its largest components."""
    rows = []
    for number, layer in enumerate(document["layers"], 1):
        largest = sorted(layer["components"], key=lambda component: -component["size"])
        rows.append((str(number), human_size(layer["size"]), first_of([one["id"] for one in largest])))
    title = f"{len(rows)} layers, {human_size(document['size'])}"
    print_table(title, COLUMNS, rows, numbers=COLUMNS[:2])
