"""The components of a release, by the summaries of its layers. Only a few small files are unpacked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rechunk_podman.components.assign import assign
from rechunk_podman.components.preload import Databases
from rechunk_podman.errors import ImageError
from rechunk_podman.history.summary import Embedded, FileSummary, Summary
from rechunk_podman.model import Component, ComponentId, Kind, Tree
from rechunk_podman.oci.read.flatten import TreeDigest, apply_layers
from rechunk_podman.oci.read.tar import Member
from rechunk_podman.packages.protocol import Database, Ecosystem, Files, Package, Paths
from rechunk_podman.rootfs.recorded import RecordedRoot
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import described_scan
from rechunk_podman.temporary import private_directory
from rechunk_podman.workers import gc_paused


@dataclass(frozen=True, slots=True)
class Contents:
    """The components of a release, and the bytes that each takes in a compressed layer.

    placed: the same bytes for each layer of the image itself, by its index.
    parts: the same bytes of each part.
    """

    components: tuple[Component, ...]
    packed: Mapping[ComponentId, int]
    placed: Mapping[int, Mapping[ComponentId, int]] = field(default_factory=dict)
    parts: Mapping[ComponentId, int] = field(default_factory=dict)


def read_contents(name: str, summaries: Sequence[Path]) -> Contents:
    """Find the components of an image, as a split of it does.

    Args:
        name: of the image, for messages.
        summaries: of its layers, the bottom first.

    Raises:
        DamagedError: a summary is damaged. ImageError: the layers do not fit together.
        RootfsError, DatabaseError: as assign().
    """
    with ExitStack() as stack, gc_paused():
        layers = [stack.enter_context(Summary(path)) for path in summaries]
        found = apply_layers(name, [layer.members for layer in layers], _keep)
        others = [size for layer in layers for size in layer.others]
        folder = Path(stack.enter_context(private_directory()).path)
        try:
            _write(found, folder)
        except OSError as error:
            raise ImageError(f"cannot write the package databases of {name}", context=[str(error)]) from error
        looked: Mapping[str, FileSummary] = {path: content for path, (_, content) in found.looked.items()}
        with RecordedRoot(folder, lambda path, algorithm: looked[path].digest(algorithm)) as root:
            tree = described_scan(root, found.tree)
            assignment = assign(root, tree, databases=_Databases(root, looked))
    packed = np.full(len(tree) + 1, sum(others) / max(len(others), 1))
    layer_of = np.full(len(tree) + 1, -1)
    for position, path in enumerate(tree.paths):
        if path in looked:
            layer_of[position] = found.looked[path][0]
            if position not in tree.leader:
                packed[position] = looked[path].packed
    placed: dict[int, dict[ComponentId, int]] = {}
    for component in assignment.components:
        own = layer_of[component.positions]
        for layer in np.unique(own[own >= 0]).tolist():
            size = packed[component.positions[own == layer]].sum()
            placed.setdefault(layer, {})[component.id] = round(float(size))
    return Contents(
        assignment.components,
        {c.id: round(float(packed[c.positions].sum())) for c in assignment.components},
        placed,
        {
            c.id._replace(part=part.name): round(float(packed[part.positions].sum()))
            for c in assignment.components
            for part in c.parts
        },
    )


def _keep(layer: int, member: Member, content: FileSummary) -> tuple[int, FileSummary]:
    return layer, content


def _write(found: TreeDigest, folder: Path) -> None:
    """Write the directories, the symlinks and the contents that are kept below `folder` (OSError)."""
    tree: Tree = found.tree
    for path, entry in tree.items():
        # The parents of each path are directories that this loop made: no symlink is followed.
        target = folder / path
        if entry.kind is Kind.DIRECTORY:
            target.mkdir(0o700)
        elif entry.kind is Kind.SYMLINK:
            target.symlink_to(entry.target or "")
        elif path in found.looked:
            content = found.looked[path][1].content()
            if content is not None:
                target.write_bytes(content)
                os.utime(target, (entry.mtime, entry.mtime))


class _Databases(Databases):
    """Package databases, of which the embedded records were read from the layers."""

    __slots__ = ("_embedded",)

    def __init__(self, root: Root, looked: Mapping[str, FileSummary]) -> None:
        super().__init__(root)
        self._embedded: Mapping[str, tuple[Embedded, ...]] = {
            path: summary.embedded for path, summary in looked.items() if summary.embedded
        }

    def load(self, ecosystem: Ecosystem, records: Sequence[str]) -> Database | None:
        """See Databases."""
        if not ecosystem.locations.embedded:
            return super().load(ecosystem, records)
        packages = [
            Package(found.name, found.version, found.name, found.version, files=Files(Paths([path])))
            for path in records
            for found in self._embedded.get(path, ())
            if found.ecosystem == ecosystem.name
        ]
        return Database(packages) if packages else None
