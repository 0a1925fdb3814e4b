"""Paths in one buffer are the paths that a list and a dictionary would hold."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from rechunk_podman.native import find_path, find_paths, path_starts, sort_paths, take_paths
from rechunk_podman.packages.locations import Locations
from rechunk_podman.pathtable import PathPositions, PathTable, distinct, path_key
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan

NAMES = ["a", "a-b", "a.b", "a0", "b", "ab", "\udcff", "ä", "aa", "a b", "!", "\x7f", "z" * 40]


def joined(paths):
    return b"".join([path_key(path) + b"\0" for path in paths])


def table(paths):
    return PathTable(joined(sorted(paths, key=path_key)))


def random_tree(seed):
    """Paths whose directories are among them, in any order."""
    chance = random.Random(seed)
    paths = [""]
    for _ in range(chance.randrange(200)):
        path = f"{chance.choice(paths)}/{chance.choice(NAMES)}".lstrip("/")
        if path not in paths:
            paths.append(path)
    del paths[0]
    chance.shuffle(paths)
    return paths


@pytest.mark.parametrize("seed", range(40))
def test_sorted_by_bytes(seed):
    paths = random_tree(seed)
    parents = np.array([paths.index(head) if (head := p.rpartition("/")[0]) else -1 for p in paths], np.int64)
    order = np.frombuffer(sort_paths(joined(paths), path_starts(joined(paths)), parents), np.int64)
    assert [paths[index] for index in order.tolist()] == sorted(paths, key=path_key)


@pytest.mark.parametrize("seed", range(10))
def test_looked_up_like_a_dictionary(seed):
    paths = random_tree(seed)
    ordered = sorted(paths, key=path_key)
    known = {path: position for position, path in enumerate(ordered)}
    wanted = [*paths, *random_tree(seed + 1000), "", "a/", "\0", "a\0b", "\ud800"]
    found = table(paths)
    positions = PathPositions(found)
    assert dict(positions) == known
    for path in wanted:
        assert positions.get(path) == known.get(path)
        assert positions.get(path, 7) == known.get(path, 7)
        assert (path in positions) == (path in found) == (path in known)
    clean = [path for path in wanted if "\0" not in path and path != "\ud800"]
    assert found.find_joined(joined(clean)).tolist() == [known.get(path, -1) for path in clean]
    with pytest.raises(KeyError):
        positions["gone"]


@pytest.mark.parametrize("seed", range(10))
def test_a_sequence_like_a_list(seed):
    ordered = sorted(random_tree(seed), key=path_key)
    found = table(ordered)
    assert found == ordered
    assert list(found) == ordered
    assert len(found) == len(ordered)
    assert found[2:-1:3] == ordered[2:-1:3]
    for position in range(-len(ordered), len(ordered)):
        assert found[position] == ordered[position]
    for position in (len(ordered), -len(ordered) - 1):
        with pytest.raises(IndexError):
            found[position]
    for directory in {"", "a", "a-b", "gone", *ordered[:20]}:
        inside = [path for path in ordered if not directory or path.startswith(f"{directory}/")]
        below = found.below(directory)
        assert ordered[below.start : below.stop] == inside
    for suffix in (b"b", b"a.b", b"/a", b"\xff", b"a" * 99):
        assert found.at(found.ending(suffix)) == [p for p in ordered if path_key(p).endswith(suffix)]


def test_nothing_but_the_root():
    found = PathTable(b"")
    assert list(found) == []
    assert found.find_joined(b"a\0\0").tolist() == [-1, -1]
    assert found.ending(b"a").tolist() == []
    assert found.at(np.array([-1, -1])) == ["", ""]
    assert found.below("") == found.below("a") == range(0)


def test_scattered_records_are_those_that_match():
    paths = [
        "a.dist-info/METADATA",
        "b/METADATA",
        "c/x.dist-info/METADATA",
        "d.gem",
        "e/d.gem",
        "x.dist-info",
    ]
    locations = Locations(scattered=("**/*.dist-info/METADATA", "*.gem"))
    assert locations.scattered_in(table(paths)) == locations.scattered_in(sorted(paths)) != []
    everything = Locations(scattered=("e/*",))
    assert everything.scattered_in(table(paths)) == ["e/d.gem"]


STARTS = path_starts(b"a\0b\0")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (path_starts, (b"a",)),
        (path_starts, ("a",)),
        (sort_paths, (b"a\0b\0", STARTS, np.array([-1], np.int64))),
        (sort_paths, (b"a\0b\0", STARTS, np.array([-1, 2], np.int64))),
        (sort_paths, (b"a\0b\0", STARTS, np.array([-2, -1], np.int64))),
        (sort_paths, (b"a\0b\0", STARTS, np.array([1, 0], np.int64))),
        (sort_paths, (b"a\0b\0", STARTS, np.array([-1, 1], np.int64))),
        (take_paths, (b"a\0b\0", STARTS, np.array([2], np.int64))),
        (take_paths, (b"a\0b\0", STARTS, np.array([-2], np.int64))),
        (take_paths, (b"a\0b", STARTS, b"")),
        (take_paths, (b"a\0b\0", b"", b"")),
        (take_paths, (b"a\0b\0", STARTS[:-1], b"")),
        (take_paths, (b"a\0b\0c\0", STARTS, b"")),
        (take_paths, (b"a\0bb", STARTS, b"")),
        (find_path, (b"a\0b\0c\0", STARTS, b"a")),
        (find_paths, (b"a\0b\0", STARTS, b"a")),
        (find_paths, (b"a\0b\0c\0", STARTS, b"a\0")),
    ],
)
def test_wrong_arguments(function, arguments):
    with pytest.raises((TypeError, ValueError)):
        function(*arguments)


def test_a_scan_makes_no_object_for_a_path(tmp_path):
    for folder in range(30):
        (tmp_path / f"{folder}").mkdir()
        for number in range(200):
            (tmp_path / f"{folder}/{number:040}").touch()
    with Root(str(tmp_path)) as root:
        scan(root)
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        tree = scan(root)
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
    blocks = sum(change.count_diff for change in after.compare_to(before, "filename"))
    assert blocks < len(tree) / 10


@pytest.mark.parametrize("values", [[], [7], [3, 1, 3, 0, -1, 1], [2**40, 0, 2**40]])
def test_distinct(values):
    assert distinct(np.array(values, np.intp)).tolist() == sorted(set(values))
