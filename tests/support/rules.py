"""A component map and a groups file where the files of `init` and the splitter look for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_rules(folder: Path, mapped: str, grouped: str) -> None:
    """Write rechunk-map.tsv (path `mapped`: map/mine), rechunk-groups.yml (`grouped`: a layer of its own)."""
    (folder / "rechunk-map.tsv").write_text(f"{mapped}\tmine\n")
    (folder / "rechunk-groups.yml").write_text(f"groups: {{own: {{paths: [{grouped}], isolated: true}}}}\n")


def check_rules(shown: Mapping[str, Any]) -> None:
    """Assert that an image was made by them.

    Args:
        shown: the document of `inspect --json`.
    """
    layers = [[component["id"] for component in layer["components"]] for layer in shown["layers"]]
    assert ["groups/own"] in layers
    assert "map/mine" in [name for layer in layers for name in layer]
