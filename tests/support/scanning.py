"""Helpers of the tests of scan()."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import xattr

from rechunk_podman.model import Tree
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan


def tree_of(top: Path, **options: Any) -> Tree:
    """Return the tree of a directory; the options are those of scan()."""
    with Root(top) as root:
        return scan(root, **options)


def set_xattrs(path: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Set attributes of one value; skip the test if a file system takes none."""
    for name in names:
        try:
            xattr.set(path, name, b"value \xff\0")
        except OSError as error:
            pytest.skip(f"cannot set {name} here: {error}")
