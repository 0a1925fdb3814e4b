"""Refuse a root filesystem whose boot depends on a digest of all its metadata and times."""

from __future__ import annotations

import os

from rechunk_podman.boot.uki import DIRECTORIES, UKI, read_uki
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Kind, Tree
from rechunk_podman.rootfs.root import Root

_NAMED = 3


def refuse_sealed(root: Root, tree: Tree) -> None:
    """Raise RootfsError if a unified kernel image in the tree is sealed: no split image would boot by it."""
    found = []
    for directory in DIRECTORIES:
        for position in tree.below(directory):
            path = tree.paths[position]
            if UKI.match(path) and tree.entry(position).kind is Kind.FILE and (seal := _seal(root, path)):
                found.append((path, seal))
    if found:
        raise RootfsError(
            f"the image is sealed: {root.show(found[0][0])} boots with {found[0][1][:80]}",
            context=[
                "this is a digest of all files with their metadata and times, which a split changes: the "
                "result would not boot",
                *(f"also {root.show(path)}" for path, _ in found[1:_NAMED]),
            ],
            hint="split first and seal the result (docs/sealed.md); or leave the sealed kernel out: "
            f"--prune {root.show(found[0][0])}",
        )


def _seal(root: Root, path: str) -> str | None:
    with os.fdopen(root.open(path), "rb", buffering=0) as file:
        try:
            uki = read_uki(lambda size: file.read(size) or b"")
        except OSError as error:
            raise root.error(path, error) from error
    return None if uki is None else uki.seal
