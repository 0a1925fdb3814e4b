"""What split made, as a document and as a table."""

from __future__ import annotations

import json
from typing import Any

from rechunk_podman.errors import ImageError
from rechunk_podman.units import human_size


def layers_document(
    name: str, source: str, engine: str, config_bytes: bytes, manifest_bytes: bytes
) -> dict[str, Any]:
    """What split did, for --json. Sizes in bytes, as the manifest says; layers bottom first.

    Args:
        name: of the result. source: id of the image that was split. engine: which one did it.

    Raises:
        ImageError: config and manifest are not of one image.
    """
    config = json.loads(config_bytes)
    manifest = json.loads(manifest_bytes)
    comments = [
        entry.get("comment", "") for entry in config.get("history") or () if not entry.get("empty_layer")
    ]
    diff_ids = config["rootfs"]["diff_ids"]
    descriptors = manifest.get("layers") or []
    if not len(diff_ids) == len(descriptors) == len(comments):
        raise ImageError(
            f"the image {name} does not fit together",
            context=[f"{len(diff_ids)} diff_ids, {len(descriptors)} layers, {len(comments)} history entries"],
        )
    layers = [
        {"diff_id": diff_id, "size": descriptor["size"], "components": comment}
        for diff_id, descriptor, comment in zip(diff_ids, descriptors, comments, strict=True)
    ]
    return {
        "image": name,
        "source": source,
        "engine": engine,
        "size": sum(layer["size"] for layer in layers),
        "layers": layers,
    }


def print_layers(document: dict[str, Any]) -> None:
    """The same as a table: layer, size, components, and a total."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    count = len(document["layers"])
    table = Table(title=document["image"], show_footer=True)
    table.add_column("layer", justify="right", footer=str(count))
    table.add_column("size", justify="right", footer=human_size(document["size"]))
    table.add_column("components", footer=f"{count} layers in all")
    for number, layer in enumerate(document["layers"], 1):
        table.add_row(str(number), human_size(layer["size"]), Text(layer["components"]))
    Console().print(table)
