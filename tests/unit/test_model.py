"""The values: positions and paths of a Tree, components that differ in their files alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rechunk_podman.model import ROOT, Component, ComponentId, Kind, Tree, make_entry


def tree(*paths: str) -> Tree:
    directories = {path.rpartition("/")[0] for path in paths}
    entries = {
        path: make_entry([Kind.DIRECTORY if path in directories else Kind.FILE, *[0] * 6, number, 1])
        for number, path in enumerate(paths)
    }
    return Tree(make_entry([Kind.DIRECTORY, *[0] * 8]), entries)


def test_paths_at_positions():
    found = tree("b", "a-b", "a", "a/c")
    assert found.paths_at(np.arange(4)) == ["a", "a-b", "a/c", "b"]
    assert found.paths_at(np.array([3, ROOT, 0])) == ["b", "", "a"]
    assert found.paths_at(np.array([], np.intp)) == []


def test_paths_of_an_empty_tree():
    assert tree().paths_at(np.array([ROOT])) == [""]


def test_components_are_compared_without_their_positions():
    one = Component(ComponentId("rpm", "a"), 1, b"12345678", positions=np.array([1, 2]))
    assert one == replace(one, positions=np.array([3]))
    assert one != replace(one, size=2)
