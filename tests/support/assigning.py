"""Small root filesystems on the disk, and who gets which of their paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rechunk_podman.components.assign import Assignment, assign
from rechunk_podman.model import Component, Tree
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan

INSTALLED = 1_720_000_000
"""The mtime of files that make() writes."""


def make(top: Path, files: Mapping[str, str | bytes], mtime: int = INSTALLED) -> Path:
    """Writes files (path -> content) below `top`, with their directories and this mtime."""
    for path, content in files.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(file, (mtime, mtime))
    return top


class Result:
    """An Assignment, looked up by path and by component; two can be compared.

    mtimes: path -> mtime in a layer, of everything but `/` itself.
    steady: the same in a layer that holds only some parts of the component.
    paths: component -> its paths.
    owner: path -> component.
    """

    def __init__(self, tree: Tree, assignment: Assignment) -> None:
        self.mtimes = dict(zip(tree, assignment.mtimes.tolist(), strict=True))
        self.steady = dict(zip(tree, assignment.steady_mtimes.tolist(), strict=True))
        self.components = {str(component.id): component for component in assignment.components}
        self.paths = {str(c.id): tree.paths_at(c.positions) for c in assignment.components}
        self.owner = {path: ident for ident, paths in self.paths.items() for path in paths}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and vars(self) == vars(other)

    def __getitem__(self, ident: str) -> Component:
        return self.components[ident]


def assigned(top: Path, **options: object) -> Result:
    """The Result of assign() on a directory."""
    with Root(top) as root:
        tree = scan(root)
        return Result(tree, assign(root, tree, **options))  # type: ignore[arg-type]
