"""List who owns the files of an image: its components, and the share that no source claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rechunk_podman.components import group_file
from rechunk_podman.components.assign import claim_all, pieces
from rechunk_podman.components.board import NO_RULES, Board, Rules
from rechunk_podman.components.parts import CUT_FROM
from rechunk_podman.components.preload import Databases
from rechunk_podman.components.sources import bigfiles, unclaimed
from rechunk_podman.components.why import Why, explain
from rechunk_podman.images import open_unpacked
from rechunk_podman.model import Placement, Tree
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import described_scan, scan

MOST_FILES = 1000
"""The largest number of unclaimed files that are listed."""

NOBODYS = (bigfiles.name, unclaimed.name)
"""The sources of what no other source claims."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A component and what it owns. size: bytes of its files, each hard-link group once.

    parts: the names of its parts, if it is large enough to have several.
    """

    id: str
    version: str
    files: int
    size: int
    interval: float | None
    placement: Placement
    is_claimed: bool
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Owners:
    """The components of an image, the largest first.

    unclaimed: (path, bytes) of the largest files that no source claims, the largest first.
    """

    name: str
    components: tuple[Owned, ...]
    unclaimed: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(component.size for component in self.components)

    @property
    def unclaimed_size(self) -> int:
        """Return the bytes that no source claims."""
        return sum(component.size for component in self.components if not component.is_claimed)


def rules_of(maps: Sequence[str] = (), groups: Sequence[str] = ()) -> Rules:
    """Return the rules in files of maps and groups.

    Raises:
        UsageError: a groups file cannot be read.
    """
    return Rules(tuple(maps), group_file.load(groups).groups)


def owners(
    reference: str,
    rules: Rules = NO_RULES,
    *,
    registry: Registry = DEFAULT,
    prune: Sequence[str] = (),
    is_rootfs: bool = False,
) -> Owners:
    """Return the components of an image or a directory.

    Args:
        registry: as `images.open_root()` takes it.
        is_rootfs: the reference is the path of a root filesystem.

    Raises:
        UsageError: a map cannot be read.
        RechunkError: as `images.open_unpacked()` and `assign()`.
    """
    with _opened(reference, registry, prune, is_rootfs=is_rootfs) as (root, tree):
        board = Board(tree, Databases(root, prune=prune), rules)
        claim_all(root, board)
        return _owners(reference, board)


def why(
    reference: str,
    path: str,
    rules: Rules = NO_RULES,
    *,
    registry: Registry = DEFAULT,
    prune: Sequence[str] = (),
    is_rootfs: bool = False,
) -> Why:
    """Return why a path of an image is in its component.

    Args:
        registry, is_rootfs: as owners() takes them.

    Raises:
        UsageError: as owners(), or there is no such path.
        RechunkError: as owners().
    """
    with _opened(reference, registry, prune, is_rootfs=is_rootfs) as (root, tree):
        return explain(root, tree, path, rules, Databases(root, prune=prune))


@contextmanager
def _opened(
    reference: str, registry: Registry, prune: Sequence[str], *, is_rootfs: bool
) -> Iterator[tuple[Root, Tree]]:
    with ExitStack() as stack:
        unpacked = None
        if is_rootfs:
            root = stack.enter_context(Root(reference))
        else:
            root, unpacked = stack.enter_context(open_unpacked(reference, registry))
        if unpacked is None:
            yield root, scan(root, prune=prune, skip_special_files=True)
        else:
            yield root, described_scan(root, unpacked, prune=prune, skip_special_files=True)


def _owners(name: str, board: Board) -> Owners:
    needed = ~board.inner
    own = board.owner[needed]
    leads = board.leader == np.arange(len(board.leader))
    sizes = np.where(board.regular & leads, board.size, 0)
    count = len(board.drafts)
    files = np.bincount(own, minlength=count).tolist()
    total = np.bincount(own, weights=sizes[needed], minlength=count).astype(np.int64).tolist()
    positions = np.flatnonzero(needed)
    parts = {
        number: tuple(piece.name for piece in pieces(board, positions[own == number]))
        for number, size in enumerate(total)
        if size >= CUT_FROM
    }
    found = [
        Owned(
            str(draft.id),
            draft.version,
            files[number],
            total[number],
            draft.interval,
            draft.placement,
            draft.id.source not in NOBODYS,
            parts.get(number, ()),
        )
        for number, draft in enumerate(board.drafts)
        if files[number]
    ]
    found.sort(key=lambda component: (-component.size, component.id))
    nobodys = [number for number, draft in enumerate(board.drafts) if draft.id.source in NOBODYS]
    loose = np.flatnonzero(np.isin(board.owner, nobodys) & (sizes > 0))
    largest = loose[np.argsort(-sizes[loose], kind="stable")][:MOST_FILES]
    paths = zip(board.tree.paths_at(largest), sizes[largest].tolist(), strict=True)
    return Owners(name, tuple(found), tuple(paths))


def owners_document(found: Owners) -> dict[str, Any]:
    """Return the document of `components`."""
    size, loose = found.size, found.unclaimed_size
    return {
        "name": found.name,
        "size": size,
        "files": sum(component.files for component in found.components),
        "unclaimed": {
            "size": loose,
            "share": loose / size if size else 0.0,
            "files": [{"path": f"/{path}", "size": bytes_} for path, bytes_ in found.unclaimed],
        },
        "components": [
            {
                "id": component.id,
                "version": component.version,
                "files": component.files,
                "size": component.size,
                "interval": component.interval,
                "placement": component.placement.name.lower(),
                "claimed": component.is_claimed,
                **({"parts": list(component.parts)} if component.parts else {}),
            }
            for component in found.components
        ],
    }


def why_document(name: str, found: Why) -> dict[str, Any]:
    """Return the document of `components --why`."""
    return {
        "name": name,
        "path": f"/{found.path}",
        "component": found.component or None,
        "rule": found.rule,
        "records": list(found.records),
        "follows": [f"/{path}" for path in found.follows],
        "package": found.package or None,
        "part": found.part or None,
    }
