"""The source of packages, with an ecosystem that records nothing but names and directories, anywhere."""

from __future__ import annotations

import os

import pytest

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.components.assign import SOURCES, assign
from rechunk_podman.components.preload import Databases
from rechunk_podman.components.sources import packages
from rechunk_podman.packages.digests import MD5, SHA256, Digests
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import Locations
from rechunk_podman.packages.protocol import Database, Files, Package, Paths
from rechunk_podman.packages.versions import compare_rpm
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers
from support.assigning import Result, make

BUILT = 1_700_000_000


class Boxes:
    """A directory with a file BOX in it is a package: NAME VERSION. Innermost boxes count."""

    name = "boxes"
    locations = Locations(scattered=("**/BOX",))

    def load(self, root, records=(), *, files=True):
        found = []
        for path in records:
            name, version = root.read(path).decode().split()
            trees = [path.rpartition("/")[0]] if files else []
            found.append(Package(name, version, name, version, built=BUILT, trees=trees))
        return Database(found) if found else None

    compare = staticmethod(compare_rpm)


class Source:
    """The source of packages, with other ecosystems."""

    name = packages.name
    rule = packages.rule

    def __init__(self, *ecosystems):
        self.ecosystems = ecosystems

    def claim(self, root, board):
        packages.claim(root, board, self.ecosystems)


def assigned(top, *ecosystems):
    sources = [Source(*ecosystems) if source is packages else source for source in SOURCES]
    with Root(top) as root, Workers(2) as workers:
        databases = Databases(root, workers, ecosystems)
        tree = scan(root)
        return Result(tree, assign(root, tree, sources=sources, databases=databases))


@pytest.fixture
def top(tmp_path):
    """a holds b (in a/modules/b), c is beside them and d in the Debian package deb."""
    files = {
        "opt/a/BOX": "a 1",
        "opt/a/code": "a",
        "opt/a/modules/b/BOX": "b 2",
        "opt/a/modules/b/lib/code": "b",
        "opt/a-c/BOX": "c 3",
        "opt/a/listed": "deb",
        "opt/rest": "rest",
        "var/lib/dpkg/status": "Package: deb\nStatus: install ok installed\nVersion: 1-1\n",
        "var/lib/dpkg/info/deb.list": "/.\n/opt/a/listed\n",
    }
    (tmp_path / "opt/a/modules/b/empty").mkdir(parents=True)
    return make(tmp_path, files, mtime=BUILT + 100)


def test_the_innermost_directory_counts(top):
    result = assigned(top, *ECOSYSTEMS, Boxes())
    assert result.paths["boxes/a"] == ["opt/a/BOX", "opt/a/code"]
    assert result.paths["boxes/b"] == [
        "opt/a/modules/b/BOX",
        "opt/a/modules/b/empty",
        "opt/a/modules/b/lib/code",
    ]
    assert result.paths["boxes/c"] == ["opt/a-c/BOX"]
    assert result.owner["opt/a/listed"] == "dpkg/deb"
    assert result.owner["opt/rest"].startswith("unclaimed/")
    assert "database/boxes" not in result.components


def test_files_in_a_tree_have_the_build_time_of_its_package(top):
    make(top, {"opt/a/old": "x"}, mtime=BUILT - 5)
    result = assigned(top, *ECOSYSTEMS, Boxes())
    assert result["boxes/a"].built == BUILT
    assert (result.mtimes["opt/a/old"], result.mtimes["opt/a/code"]) == (BUILT - 5, BUILT)


def test_a_hard_link_of_two_trees_goes_to_one_of_them_in_any_order(top):
    os.link(top / "opt/a-c/BOX", top / "opt/a/modules/b/z")
    first = assigned(top, Boxes()).owner
    assert first["opt/a-c/BOX"] == first["opt/a/modules/b/z"] == "boxes/b"


def test_the_same_package_in_two_directories_is_one_component_with_both_versions(top):
    make(top, {"srv/BOX": "a 0.9", "srv/code": "x"})
    result = assigned(top, Boxes())
    assert result["boxes/a"].version == "0.9 1"
    assert {"srv/code", "opt/a/code"} <= set(result.paths["boxes/a"])


def test_changelog_finds_scattered_records(top):
    with Root(top) as root:
        found = of_root(root, (*ECOSYSTEMS, Boxes()))
    assert {name: version.text for name, version in found.binary.items()} == {
        "a": "1",
        "b": "2",
        "c": "3",
        "deb": "1-1",
    }
    assert found.binary["b"].source == "boxes"


def test_a_name_that_two_ecosystems_know_is_the_firsts(top):
    make(top, {"srv/BOX": "deb 9"})
    with Root(top) as root:
        assert of_root(root, (*ECOSYSTEMS, Boxes())).binary["deb"].text == "1-1"


class Listing:
    """An ecosystem with one package, which lists these files."""

    name = "listing"
    locations = Locations()

    def __init__(self, files, **options):
        self.package = Package("x", "1", "x", "1", files=files, **options)

    def load(self, root, records=(), *, files=True):
        return Database([self.package])

    compare = staticmethod(compare_rpm)


def test_files_without_any_columns_are_read(tmp_path):
    make(tmp_path, {"usr/x": "1"}, mtime=BUILT + 9)
    listing = Listing(Files(Paths(["usr/x", "usr/absent"])), built=BUILT)
    result = assigned(tmp_path, listing)
    assert result.paths["listing/x"] == ["usr/x"]
    before = result["listing/x"]
    assert before.built == BUILT
    make(tmp_path, {"usr/x": "2"}, mtime=BUILT + 9)
    assert assigned(tmp_path, listing)["listing/x"].fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("texts", "algorithm", "recorded"),
    [
        (["00" * 16, "ff" * 16], MD5, [True, True]),
        (["00" * 16, None, ""], MD5, [True, False, False]),
        (["ab" * 16, "cd" * 32], MD5, [True, True]),
        (["zz" * 16, "0", "ab"], MD5, [False, False, True]),
        (["00" * 32], 99, [False]),
        (["ab" * 64], 10, [True]),
        ([], SHA256, []),
    ],
)
def test_digests(texts, algorithm, recorded):
    digests = Digests.parse(texts, algorithm)
    assert digests.recorded.tolist() == recorded
    for text, row, known in zip(texts, digests.rows, recorded, strict=True):
        expected = bytes.fromhex(text)[:32] if known else b""
        assert row.tobytes() == expected.ljust(len(row), b"\0")
