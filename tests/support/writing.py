"""Layers made from a directory without the planner: what the tests of writing need."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from rechunk_podman.model import ROOT, Kind, Tree
from rechunk_podman.oci.spec import Layer
from rechunk_podman.oci.write.documents import ImageDocuments, WrittenImage
from rechunk_podman.oci.write.image import LayerSpec, write_image
from rechunk_podman.oci.write.output import Output
from rechunk_podman.oci.write.stream import TarSource
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers


def spec(tree: Tree, *paths: str, **fields: Any) -> LayerSpec:
    """Return a layer of these paths; "" is the root."""
    positions = np.array([tree.position[path] if path else ROOT for path in paths], np.intp)
    return LayerSpec(positions, 0, **fields)


def specs(tree: Tree, count: int) -> list[LayerSpec]:
    """Return at most `count` layers of the whole tree: files by name, hard links together, `./` first."""
    inner = {path.rpartition("/")[0] for path in tree}
    groups: dict[int, list[str]] = defaultdict(list)
    for path, entry in tree.items():
        if entry.kind is Kind.DIRECTORY and path in inner:
            continue
        leader = tree.links.get(path, path)
        groups[crc32(leader.encode("utf-8", "surrogateescape")) % count].append(path)
    first, *others = [paths for _, paths in sorted(groups.items())] or [[]]
    return [spec(tree, "", *first), *(spec(tree, *paths) for paths in others)]


def tar_source(root: Root, mtimes: Mapping[str, int] | None = None, root_mode: int = 0o755) -> TarSource:
    """Scan a root filesystem; files keep their mtimes but for those in `mtimes` (path -> epoch seconds)."""
    tree = scan(root)
    kinds = tree.column("kind")
    times = np.where(kinds == Kind.FILE, tree.column("mtime"), kinds != Kind.DIRECTORY)
    for path, time in (mtimes or {}).items():
        times[tree.position[path]] = time
    return TarSource(root, tree, times, root_mode)


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
    root_mode: int = 0o755,
    **options: Any,
) -> WrittenImage:
    """Scan `top` and write it, in `count` layers or those that `layers` makes."""
    with Root(top) as root, Workers(threads) as workers:
        source = tar_source(root, mtimes, root_mode)
        chosen = layers(source.tree) if layers else specs(source.tree, count)
        options = {"finish": finish, "workers": workers, **options}
        return write_image(source, chosen, output=Output.parse(str(output)), **options)


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
