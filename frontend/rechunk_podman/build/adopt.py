"""Adoption: layers of the previous image that another tool made stay as they are, byte for byte.

A layer may stay if each of its entries is in the new tree with the same content and metadata. The layers
above hold all other components, without those of their files that are in kept layers.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from rechunk_podman.build.known_layers import known_layer, remember_layer
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.components.assign import ROOT_ID, Assignment
from rechunk_podman.components.board import Flags
from rechunk_podman.components.content import file_digests
from rechunk_podman.errors import ImageError
from rechunk_podman.log import NOTE, begin_phase
from rechunk_podman.model import Component, ComponentId, Kind, Placement, Positions, Tree
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.cache import Cache
from rechunk_podman.oci.read.flatten import TreeDigest
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.layers import read_layer
from rechunk_podman.oci.reuse import Reuse
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.write.copied import copy_layer
from rechunk_podman.oci.write.image import KeptTar
from rechunk_podman.planning.ledger import diff_id_prefix
from rechunk_podman.planning.on_kept import room_for_kept
from rechunk_podman.rootfs.acl import add_inherited
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import compared_xattrs
from rechunk_podman.units import human_size
from rechunk_podman.workers import Workers

log = logging.getLogger("rechunk_podman")

LEAST_SHARE = 0.5
"""The least share of the bytes of a kept layer that no other layer repeats."""

PLACEHOLDER = "kept"
"""The source of the ids of placeholders, see _above(); their names are the beginnings of diff_ids."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The previous image, and those of its layers that another tool made.

    image: its layers.
    record: its documents as its location has them.
    layers: the numbers of these layers, from 0.
    copies: diff_ids of the layers that may be copied into the new image, with the descriptors of their blobs;
        None for a copy of the uncompressed tar.
    cache: of what earlier builds read.
    read: diff_ids of the layers that were read to their ends, and are sound.
    """

    image: ImageSource
    record: ImageRecord
    layers: tuple[int, ...]
    copies: Reuse = field(default_factory=dict)
    cache: Cache | None = None
    read: set[DiffId] = field(default_factory=set)

    @property
    def prefixes(self) -> frozenset[bytes]:
        """The prefixes of the diff_ids of these layers."""
        return frozenset(diff_id_prefix(self.record.layers[index].diff_id) for index in self.layers)

    def layer(self, index: int) -> TreeDigest:
        """Return the entries of a layer; read it if no earlier build did.

        Raises:
            ImageError: as read_layer(). ToolError: the registry did not answer.
        """
        diff_id = self.record.layers[index].diff_id
        known = None if self.cache is None else known_layer(self.cache, diff_id, self.record.name)
        if known is not None and (diff_id not in self.copies or self.image.has_blob(index)):
            return known
        layer = read_layer(self.image, index)
        self.read.add(diff_id)
        if self.cache is not None:
            remember_layer(self.cache, diff_id, layer)
        return layer

    def tars(self, kept: Sequence[KeptLayer]) -> dict[DiffId, KeptTar]:
        """Return the kept layers as write_image() takes them, by diff_id."""
        index_of = {self.record.layers[index].diff_id: index for index in self.layers}
        return {
            layer.diff_id: KeptTar(
                layer.size,
                partial(copy_layer, self.image, index_of[layer.diff_id], self.copies[layer.diff_id])
                if layer.diff_id in self.copies
                else None,
            )
            for layer in kept
        }


@dataclass(frozen=True, slots=True)
class KeptLayer:
    """A layer that stays as it is.

    size: bytes of its tar.
    components: those that no layer above has to hold; else the id of a placeholder, see _above().
    """

    diff_id: DiffId
    size: int
    components: tuple[ComponentId, ...]


def _above(
    tree: Tree, components: Sequence[Component], kept: Sequence[KeptLayer], candidates: Sequence[_Candidate]
) -> tuple[Component, ...]:
    """Return the components without the files that kept layers have instead, and placeholders.

    In a plan a component is in one layer, and no layer is empty. Another tool may have divided a component
    among several layers: one layer has it in the plan, and a kept one that has no other a placeholder, which
    has no files.
    """
    covered = np.zeros(len(tree), np.bool_)
    for candidate in candidates:
        covered[candidate.positions] = True
    sizes = _sizes(tree)
    held = {ident for layer in kept for ident in layer.components}
    found = []
    for component in components:
        own = component.positions
        if component.id not in held and _is_movable(component) and covered[own].any():
            rest = own[~covered[own]]
            share = float(sizes[rest].sum()) / max(float(sizes[own].sum()), 1.0)
            component = replace(component, positions=rest, size=round(component.size * share), parts=())
        found.append(component)
    found += [
        Component(ident, layer.size, bytes.fromhex(ident.name))
        for layer in kept
        for ident in layer.components
        if ident.source == PLACEHOLDER
    ]
    return tuple(found)


def _is_movable(component: Component) -> bool:
    return component.placement is Placement.SHARED and component.id != ROOT_ID


def _sizes(tree: Tree) -> npt.NDArray[np.int64]:
    """Return the bytes of the tar entry of each position."""
    sizes: npt.NDArray[np.int64] = np.where(tree.column("kind") == Kind.FILE, tree.column("size"), 0) + 512
    sizes[list(tree.leader)] = 512
    sizes[tree.column("kind") == Kind.DIRECTORY] = 0  # every layer repeats those that it needs
    return sizes


def _members(candidate: _Candidate) -> tuple[ComponentId, ...]:
    named = tuple(sorted(component.id for component in candidate.members))
    return named or (ComponentId(PLACEHOLDER, candidate.diff_id.partition(":")[2][:16]),)


@dataclass(slots=True)
class _Candidate:
    """A layer that may stay. positions: of its entries in the tree, without the root."""

    diff_id: DiffId
    size: int
    positions: Positions
    members: list[Component] = field(default_factory=list)


def kept_layers(
    root: Root,
    tree: Tree,
    assignment: Assignment,
    foreign: Foreign,
    reusable: Container[DiffId],
    options: BuildOptions,
    workers: Workers,
) -> tuple[tuple[KeptLayer, ...], tuple[Component, ...]]:
    """Read the layers of another tool in the previous image; return those that stay, bottom first.

    Return also the components to plan with: without the files that the layers above need not hold.

    Args:
        reusable: diff_ids of the layers that the destination of the new image has.
        options: their number of layers, and their labels of SELinux, count.

    Raises:
        RootfsError: a file changed or cannot be read. ToolError: the registry did not answer.
    """
    begin_phase("reading the previous image")
    components = assignment.components
    found: list[_Candidate] = []
    contents: list[dict[int, bytes]] = []
    sizes = {layer.diff_id: layer.descriptor.size for layer in foreign.record.layers if layer.descriptor}
    for index in foreign.layers:
        record = foreign.record.layers[index]
        if record.diff_id not in reusable and record.diff_id not in foreign.copies:
            continue
        try:
            layer = foreign.layer(index)
        except ImageError as error:
            log.log(NOTE, "layer %d of the previous image is not kept: %s", index + 1, error.message)
            continue
        sizes.setdefault(record.diff_id, layer.size)
        matched = _matching(tree, assignment.own_mtimes, layer, keep_selinux=options.selinux != "none")
        if matched is None:
            log.debug("layer %d of the previous image is not kept: its files changed", index + 1)
            continue
        positions, digests = matched
        found.append(_Candidate(record.diff_id, layer.size, positions))
        contents.append(digests)
    wanted = np.array(sorted(set().union(*contents)), np.intp)
    present = file_digests(root, tree, wanted, workers)
    same = [
        candidate
        for candidate, digests in zip(found, contents, strict=True)
        if all(present[position] == digest for position, digest in digests.items())
    ]
    chosen = _chosen(tree, components, same, options.max_layers)
    log.log(
        NOTE,
        "%d of %d layers that other tools made stay as they are, %s of %s (--adopt no plans all anew)",
        len(chosen),
        len(foreign.layers),
        human_size(sum(sizes.get(candidate.diff_id, 0) for candidate in chosen)),
        human_size(sum(sizes.get(foreign.record.layers[index].diff_id, 0) for index in foreign.layers)),
    )
    kept = tuple(KeptLayer(candidate.diff_id, candidate.size, _members(candidate)) for candidate in chosen)
    return kept, _above(tree, components, kept, chosen)


def _matching(
    tree: Tree, own_mtimes: Flags, layer: TreeDigest, *, keep_selinux: bool
) -> tuple[Positions, dict[int, bytes]] | None:
    """Return the positions of a layer's entries, and of its files the SHA-256; None if an entry differs.

    Modification times may differ, but for those that must stay.
    """
    for path in layer.removed:
        if path.endswith("/") or path in tree:
            return None
        # In a directory that no other layer has, an overlay lists the mark as a name that cannot be read.
        directory = path.rpartition("/")[0]
        if len(tree.below(directory)) == len(layer.tree.below(directory)):
            return None
    add_inherited(layer.tree)
    positions = tree.paths.find_joined(layer.tree.paths.text)
    if (positions < 0).any():
        return None
    digests: dict[int, bytes] = {}
    for position, (path, old) in zip(positions.tolist(), layer.tree.items(), strict=True):
        new = tree.entry(position)
        if old.kind is Kind.SYMLINK:
            old = old._replace(mode=new.mode)  # it has none in Linux
        fields = (old.kind, old.mode, old.uid, old.gid, old.size, old.target, old.rdev)
        if fields != (new.kind, new.mode, new.uid, new.gid, new.size, new.target, new.rdev):
            return None
        if compared_xattrs(old, keep_selinux=keep_selinux) != compared_xattrs(new, keep_selinux=keep_selinux):
            return None
        if own_mtimes[position] and old.mtime != new.mtime:
            return None
        if old.kind is Kind.FILE:
            digests[tree.leader.get(position, position)] = layer.sha256[path]
    if not _same_links(tree, positions, layer.tree):
        return None
    return positions, digests


def _same_links(tree: Tree, positions: Positions, old: Tree) -> bool:
    """Return True if exactly the same names are hard links of each other in the layer as in the tree."""
    groups: dict[int, set[int]] = {}
    for position, leader in tree.leader.items():
        groups.setdefault(leader, {leader}).add(position)
    group_of = {position: leader for leader, members in groups.items() for position in members}
    held: dict[int, set[int]] = {}
    for position, leader in old.leader.items():
        first = int(positions[leader])
        held.setdefault(first, {first}).add(int(positions[position]))
    touched = {group_of[position] for position in positions.tolist() if position in group_of}
    return {frozenset(groups[leader]) for leader in touched} == set(map(frozenset, held.values()))


def _chosen(
    tree: Tree, components: Sequence[Component], candidates: list[_Candidate], max_layers: int
) -> list[_Candidate]:
    """Return the candidates that stay, each with its components.

    A component that all kept layers together hold whole belongs to that with most of its bytes. A layer of
    which other layers repeat too much goes, and the smallest go where there are too many.
    """
    sizes = _sizes(tree)
    movable = [component for component in components if _is_movable(component)]
    useful = np.zeros(len(tree), np.bool_)
    for component in movable:
        useful[component.positions] = True
    while candidates:
        last = np.full(len(tree), -1, np.int64)
        for index, candidate in enumerate(candidates):
            last[candidate.positions] = index
        held = [component for component in movable if (last[component.positions] >= 0).all()]
        values = []
        for index, candidate in enumerate(candidates):
            own = candidate.positions
            needed = own[(last[own] == index) & useful[own]]
            values.append((float(sizes[needed].sum()), float(sizes[own].sum())))
        for candidate, members in zip(candidates, _owned(tree, sizes, held, candidates), strict=True):
            candidate.members = members
        worst = min(
            range(len(candidates)),
            key=lambda index: (
                values[index][0] > 0,
                values[index][0] >= LEAST_SHARE * values[index][1],
                values[index][0],
                -index,
            ),
        )
        names = {component.id for component in held}
        others = [component for component in components if component.id not in names]
        fits = len(candidates) <= room_for_kept(others, max_layers)
        repeated = values[worst][0] < LEAST_SHARE * values[worst][1]
        if values[worst][0] > 0 and not repeated and fits:
            return candidates
        candidates = [candidate for index, candidate in enumerate(candidates) if index != worst]
    return []


def _owned(
    tree: Tree, sizes: npt.NDArray[np.int64], held: Sequence[Component], candidates: Sequence[_Candidate]
) -> Iterator[list[Component]]:
    """Yield the components of each candidate: each belongs to the one with most of its bytes."""
    owner = np.full(len(tree), -1, np.int64)
    for number, component in enumerate(held):
        owner[component.positions] = number
    shares = np.zeros((len(candidates), len(held)))
    for index, candidate in enumerate(candidates):
        owners = owner[candidate.positions]
        known = owners >= 0
        shares[index] = np.bincount(
            owners[known], weights=sizes[candidate.positions][known], minlength=len(held)
        )
    best = shares.argmax(axis=0) if len(held) else np.empty(0, np.intp)
    for index in range(len(candidates)):
        yield [held[number] for number in np.flatnonzero(best == index).tolist()]
