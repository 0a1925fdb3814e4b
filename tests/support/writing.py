"""Layers made from a directory without the planner: what the tests of writing need."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from rechunk_podman.model import NO_TIME, Component, ComponentId, Kind, Tree
from rechunk_podman.oci.spec import Layer
from rechunk_podman.oci.write.image import ImageDocuments, LayerSpec, Output, WrittenImage, write_image
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers


def component(name: str, *paths: str, clamp: int | None = None) -> Component:
    """A Component of these paths."""
    return Component(ComponentId("test", name), 0, bytes(8), paths, mtime_clamp=clamp)


def specs(tree: Tree, count: int) -> list[LayerSpec]:
    """The whole tree in at most `count` layers: files by name, hard links together, `./` in the first."""
    inner = {path.rpartition("/")[0] for path in tree}
    groups: dict[int, list[str]] = defaultdict(list)
    for path, entry in tree.items():
        if entry.kind is Kind.DIRECTORY and path in inner:
            continue
        leader = tree.links.get(path, path)
        groups[crc32(leader.encode("utf-8", "surrogateescape")) % count].append(path)
    layers = [LayerSpec((component(f"part{key}", *paths),)) for key, paths in sorted(groups.items())]
    first = layers[0].components if layers else ()
    return [LayerSpec((component("root", ""), *first)), *layers[1:]]


def finish(layers: Sequence[Layer]) -> ImageDocuments:
    """The smallest config that clients take."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": "test", "created": "2020-01-01T00:00:00Z"} for _ in layers],
    }
    return ImageDocuments(json.dumps(config).encode(), {"org.example.note": "a test"})


def write(
    top: Path,
    output: str | Path,
    *,
    count: int = 5,
    mtimes: Mapping[str, int] | None = None,
    layers: Callable[[Tree], Sequence[LayerSpec]] | None = None,
    threads: int = 1,
    **options: Any,
) -> WrittenImage:
    """Scans `top` and writes it, in `count` layers or those that `layers` makes."""
    with Root(top) as root, Workers(threads) as workers:
        tree = scan(root)
        chosen = layers(tree) if layers else specs(tree, count)
        options = {"finish": finish, "workers": workers, **options}
        times = [(mtimes or {}).get(path, NO_TIME) for path in tree]
        return write_image(root, tree, chosen, times, output=Output.parse(str(output)), **options)


def make_sizes(top: Path) -> Path:
    """Make a tree with files of many sizes, links, and a directory whose mode matters; return its top."""
    (top / "usr/share/closed").mkdir(parents=True)
    (top / "usr/share/empty").mkdir()
    for number, size in enumerate([0, 1, 511, 512, 513, 100_000, 1_048_064, 1_048_576, 3_145_735]):
        (top / f"usr/share/closed/file-{number}").write_bytes(bytes([number % 256, 7]) * (size // 2 + 1))
    os.link(top / "usr/share/closed/file-3", top / "usr/hard")
    (top / "usr/share/closed").chmod(0o750)
    (top / "usr/link").symlink_to("share")
    (top / "größe").write_text("ä" * 1000)
    return top
