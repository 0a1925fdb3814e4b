"""Globs of database files, and the locations of all ecosystems."""

from __future__ import annotations

import pytest

from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import Locations, matching


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("var/lib/x", "var/lib/x", True),
        ("var/lib/x", "var/lib/xy", False),
        ("var/lib/x", "srv/var/lib/x", False),
        ("var/lib/*", "var/lib/x", True),
        ("var/lib/*", "var/lib/x/y", False),
        ("var/**", "var/lib/x", True),
        ("var/**", "var", False),
        ("var/**.deb", "var/a/b.deb", True),
        ("**/*.info/NAME", "x.info/NAME", True),
        ("**/*.info/NAME", "opt/a/x.info/NAME", True),
        ("**/*.info/NAME", "opt/x.info/a/NAME", False),
        ("a+(b)*", "a+(b)c\nd", True),
        ("a.b", "axb", False),
    ],
)
def test_globs(glob, path, matches):
    assert bool(matching([glob]).match(path)) == matches


def test_no_globs_match_nothing():
    assert not matching([]).match("")


def test_scattered_records():
    paths = ["a.info/NAME", "b", "opt/b.info/NAME", "opt/b.info/NAMES", "opt/c/pack.json"]
    assert Locations(scattered=("**/*.info/NAME",)).scattered_in(paths) == ["a.info/NAME", "opt/b.info/NAME"]
    both = Locations(scattered=("**/pack.json", "**/*.info/NAME"))
    assert both.scattered_in(paths) == ["a.info/NAME", "opt/b.info/NAME", "opt/c/pack.json"]
    assert Locations().scattered_in(paths) == []


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS, ids=lambda ecosystem: ecosystem.name)
def test_locations_are_paths_below_the_root(ecosystem):
    locations = ecosystem.locations
    found = [*locations.files(), *locations.embedded, *locations.copies, *locations.state]
    found += [*locations.journals, *locations.caches]
    assert found
    for path in found:
        assert path == path.strip("/")
        assert not {"", ".", ".."} & set(path.split("/"))


def test_names_are_unique():
    names = [ecosystem.name for ecosystem in ECOSYSTEMS]
    assert len(set(names)) == len(names)
