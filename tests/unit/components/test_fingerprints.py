"""Fingerprints of many groups at once are those of each group alone; the directories above are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.components import fingerprint
from rechunk_podman.components.board import Board
from rechunk_podman.components.fingerprint import Fingerprints, ancestors
from rechunk_podman.components.preload import Databases
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.rootfs.root import Root

ROOT = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 1, 0, 2, None, None, ())
names = st.lists(st.sampled_from(["a", "b-", "b", "é", "\udcff"]), min_size=1, max_size=5).map("/".join)


def tree_of(paths: set[str]) -> Tree:
    """Return a Tree of empty files, symlinks and files with attributes below directories."""
    entries = {}
    for number, path in enumerate(sorted(paths)):
        kind = Kind.SYMLINK if number % 3 == 0 else Kind.FILE
        target = "x" * number if kind is Kind.SYMLINK else None
        xattrs = (("user.a", b"1"),) if number % 4 == 0 else ()
        entries[f"{path}/f"] = Entry(kind, 0o644, 0, 0, 0, 0, 1, number // 2, 1, target, None, xattrs)
    for path in list(entries):
        while path := path.rpartition("/")[0]:
            entries.setdefault(path, ROOT._replace(ino=10**6 + len(entries)))
    return Tree(ROOT, entries)


@given(paths=st.sets(names, min_size=1, max_size=30), data=st.data())
@settings(max_examples=100, deadline=None)
def test_ancestors_of_groups_are_those_of_each(paths: set[str], data: st.DataObject) -> None:
    tree = tree_of(paths)
    numbers = data.draw(st.lists(st.integers(0, 4), min_size=len(tree), max_size=len(tree)))
    groups = [np.flatnonzero(np.array(numbers) == number) for number in range(5)]
    found = [above.tolist() for above in ancestors(tree, groups)]
    assert found == [tree.ancestors(group).tolist() for group in groups]
    for above, group in zip(found, groups, strict=True):
        below = [tree.paths[position] for position in group]
        assert above == [
            position
            for position, path in enumerate(tree.paths)
            if any(other.startswith(f"{path}/") for other in below)
        ]


@pytest.mark.parametrize("in_memory", [1, 5, 1 << 14])
def test_groups_together_and_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """The number of paths that are in memory together changes no fingerprint, that of a chunk does."""
    tree = tree_of({f"{a}/{b}/{c}" for a in "xy" for b in "pqr" for c in "stuvw"})
    with Root(str(tmp_path_factory.mktemp("root"))) as root:
        found = Fingerprints(Board(tree, Databases(root)))
    groups = [np.arange(start, len(tree), 3) for start in range(3)]
    mtimes = np.arange(len(tree))
    alone = [found.of([group], mtimes)[0] for group in groups]
    assert len(set(alone)) == 3
    monkeypatch.setattr(fingerprint, "_PATHS_IN_MEMORY", in_memory)
    assert found.of(groups, mtimes) == alone
    assert found.of(groups, mtimes + 1) != alone
    monkeypatch.setattr(fingerprint, "_PATHS_AT_ONCE", 4)
    assert found.of(groups, mtimes) != alone
