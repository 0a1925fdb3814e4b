"""Groups: together, apart, isolated, pinned, cut; hhd-dev/rechunk's meta.yml; the ready groups."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.components import globs
from rechunk_podman.components.board import Rules
from rechunk_podman.components.globs import Glob
from rechunk_podman.components.group_file import LARGEST_FILE, READY, load, parse
from rechunk_podman.components.sources.groups import _pieces
from rechunk_podman.errors import UsageError
from rechunk_podman.model import Placement
from support.assigning import Result, assigned, make

PACKAGES = {"mesa-a": "mesa", "mesa-b": "mesa", "qt6-base": "qt6", "bash": "bash"}


def debian(tmp_path: Path) -> Path:
    """A root filesystem with the packages; each has two files."""
    stanzas, files = [], {"opt/app/one": "1" * 3000, "opt/app/two": "2" * 3000, "opt/other": "3"}
    for name, source in PACKAGES.items():
        state = "Status: install ok installed\nArchitecture: all\nVersion: 1\n"
        stanzas.append(f"Package: {name}\n{state}Source: {source}\n")
        own = [f"usr/lib/{name}/{number}" for number in range(2)]
        files.update({path: path * 200 for path in own})
        files[f"var/lib/dpkg/info/{name}.list"] = "".join(f"/{path}\n" for path in ["usr", "usr/lib", *own])
    return make(tmp_path / "root", {**files, "var/lib/dpkg/status": "\n".join(stanzas)})


def grouped(tmp_path: Path, text: str) -> Result:
    return assigned(debian(tmp_path), rules=Rules(groups=parse(text, "groups.yml").groups))


def test_packages_and_paths_together(tmp_path: Path) -> None:
    found = grouped(
        tmp_path,
        "groups:\n  graphics:\n    packages: [mesa*, dpkg/qt6*]\n    paths: [/opt/app]\n"
        "    interval: weekly\n",
    )
    for path in ("usr/lib/mesa-a/0", "usr/lib/qt6-base/1", "opt/app/two", "var/lib/dpkg/info/mesa-a.list"):
        assert found.owner[path] == "groups/graphics"
    assert found.owner["usr/lib/bash/0"] == "dpkg/bash"
    assert found.owner["opt/other"] == "unclaimed/opt"
    assert found["groups/graphics"].interval == 7.0
    # what the package database knows of a file holds whoever owns it
    assert found.mtimes == assigned(tmp_path / "root").mtimes


def test_packages_of_one_source_apart(tmp_path: Path) -> None:
    found = grouped(tmp_path, "groups:\n  m:\n    sources: [mesa]\n    paths: [/opt/*]\n    apart: yes\n")
    assert found.owner["usr/lib/mesa-a/0"] == "groups/m/mesa-a"
    assert found.owner["usr/lib/mesa-b/0"] == "groups/m/mesa-b"
    assert found.owner["opt/app/one"] == found.owner["opt/app/two"] == "groups/m/opt/app"
    assert found.owner["opt/other"] == "groups/m/opt/other"


def test_the_first_group_has_it(tmp_path: Path) -> None:
    text = "groups:\n  z: {packages: [mesa-a]}\n  a: {packages: ['*'], paths: [/usr/lib/mesa-b/0]}\n"
    found = grouped(tmp_path, text)
    assert found.owner["usr/lib/mesa-a/0"] == "groups/z"
    assert found.owner["usr/lib/mesa-b/0"] == found.owner["usr/lib/bash/0"] == "groups/a"


def test_the_order_of_trust(tmp_path: Path) -> None:
    """A map wins over a group, a group over the package databases."""
    top = debian(tmp_path)
    (tmp_path / "map").write_text("/usr/lib/mesa-a/0\tmine\n")
    groups = parse("groups:\n  g: {packages: [mesa-a]}\n", "g").groups
    found = assigned(top, rules=Rules((str(tmp_path / "map"),), groups))
    assert found.owner["usr/lib/mesa-a/0"] == "map/mine"
    assert found.owner["usr/lib/mesa-a/1"] == "groups/g"
    assert found.owner["usr/lib/mesa-b/0"] == "dpkg/mesa"


def test_placements_reach_the_plan(tmp_path: Path) -> None:
    top = debian(tmp_path)
    (tmp_path / "groups.yml").write_text(
        "groups:\n  first: {packages: [bash], pin: bottom}\n  last: {paths: [/opt/app], pin: top}\n"
        "  own: {packages: [qt6*], isolated: true}\n"
    )
    options = BuildOptions(max_layers=4, groups=(str(tmp_path / "groups.yml"),))
    layers = [tuple(map(str, layer.components)) for layer in plan_only(Source(str(top)), options).plan.layers]
    assert layers[0] == ("groups/first",)
    assert layers[-1] == ("groups/last",)
    assert ("groups/own",) in layers
    assert len(layers) == 4
    with pytest.raises(UsageError, match="need 4 layers"):
        plan_only(Source(str(top)), BuildOptions(max_layers=3, groups=options.groups))


def test_a_large_group_is_cut_by_whole_files_and_packages(tmp_path: Path) -> None:
    text = "groups:\n  big:\n    packages: ['*']\n    paths: [/opt/app/*]\n    largest_layer: 6KiB\n"
    found = grouped(tmp_path, text)
    pieces = {ident: component for ident, component in found.components.items() if "groups/" in ident}
    assert len(pieces) > 2
    assert all(piece.placement is Placement.ALONE for piece in pieces.values())
    assert found.owner["usr/lib/bash/0"] == found.owner["usr/lib/bash/1"]
    assert found.owner["opt/app/one"] != found.owner["opt/app/two"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 3000))
def test_pieces_are_small_enough_and_stay(sizes: list[int], largest: int) -> None:
    names = [f"package-{number}" for number in range(len(sizes))]
    labels = _pieces(names, sizes, largest)
    sums: dict[str, int] = {}
    for label, size in zip(labels, sizes, strict=True):
        sums[label] = sums.get(label, 0) + size
    for label, size in sums.items():
        assert size <= largest or labels.count(label) == 1
    # one package less moves none, unless pieces could have been joined
    after = _pieces(names[1:], sizes[1:], largest)
    assert all(
        new == old or old.startswith(new) or not new for new, old in zip(after, labels[1:], strict=True)
    )


META = """
version: 1
max_layers: 69
layer_prefill_ratio: 0.4
meta:
  mesa-a:
    dedicated: False
  unpackaged:
    packages:
      - bash
    files:
      - /opt/oth*
  app:
    files:
      - "*app/one"
  mesa:
    packages:
      - mesa*
"""


def test_a_meta_file_of_hhd_dev(tmp_path: Path) -> None:
    """The name is a pattern, too; the first one wins; dedicated ones are alone from 10 MB on."""
    found = parse(META, "meta.yml")
    assert found.max_layers == 69
    assert [group.placement for group in found.groups] == [0, 0, 1, 1]
    owner = assigned(debian(tmp_path), rules=Rules(groups=found.groups)).owner
    assert owner["usr/lib/mesa-a/0"] == "groups/mesa-a"
    assert owner["usr/lib/mesa-b/0"] == "groups/mesa"
    assert owner["usr/lib/bash/0"] == owner["opt/other"] == "groups/unpackaged"
    assert owner["opt/app/one"] == "groups/app"
    with open(tmp_path / "root/opt/app/one", "wb") as stream:
        stream.truncate(10_000_000)
    components = assigned(tmp_path / "root", rules=Rules(groups=found.groups)).components
    assert components["groups/app"].placement is Placement.ALONE
    assert components["groups/mesa"].placement is Placement.SHARED


@pytest.mark.parametrize("name", READY)
def test_a_ready_group_is_sound(name: str) -> None:
    found = load([name]).groups
    assert found
    assert all(group.placement is Placement.SHARED for group in found)
    assert parse(f"use: [{name}]", "x").groups == found


def test_ready_groups_know_the_packages_of_debian() -> None:
    """Of each ready group, some package that Debian has is known by its name, where apt has lists."""
    done = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=False)
    names = sorted(done.stdout.split())
    if len(names) < 10_000:
        pytest.skip("apt has no lists of packages")
    for group in load(READY).groups:
        found = {index for pattern in group.packages for index in Glob(pattern).find(names)}
        assert len(found) > 3, group.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "not a mapping"),
        ("groups: [a]", "not a mapping of names"),
        ("groups: {a: {package: [x]}}", "unknown key: 'package'"),
        ("groups: {a: {packages: x}}", "packages is not a list"),
        ("groups: {a: {isolated: true}}", "neither packages nor sources nor paths"),
        ("groups: {a: {paths: [/x], pin: left}}", "neither bottom nor top"),
        ("groups: {a: {paths: [/x], isolated: maybe}}", "neither true nor false"),
        ("groups: {a: {paths: [/x], interval: 0}}", "interval"),
        ("groups: {a: {paths: [/x], largest_layer: big}}", "not a size"),
        ("use: [nothing]", "no ready group"),
        ("max_layers: 501", "max_layers"),
        ("a: b", "unknown key: 'a'"),
        ("a: [", "not YAML"),
        ("groups:\n  a: {paths: [/x], isolated: true}\n  a: {paths: [/y]}\n", "'a' stands twice"),
        ("groups: {a: {paths: [/x], pin: top, pin: bottom}}", "'pin' stands twice"),
        ("&a [*a]", "groups file"),
        ("[" * 5000, "groups file"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "mine.yml")
    assert "mine.yml" in caught.value.message
    assert said in caught.value.message


def test_globs_that_take_too_long_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "MOST_COMPARISONS", 20)
    top = make(tmp_path, {f"opt/file{number}": "" for number in range(8)})
    for text in ("paths: ['*1', '*2', '*3']", "paths: ['*/*/*/*/*/*/*/*/*']"):
        groups = parse(f"groups: {{slow: {{{text}}}}}", "mine.yml").groups
        with pytest.raises(UsageError, match="more than 20 comparisons") as caught:
            assigned(top, rules=Rules((), groups))
        assert list(caught.value.context) == ["at the group slow of mine.yml"]
    assigned(top, rules=Rules((), parse("groups: {quick: {paths: ['/opt/file1*']}}", "mine.yml").groups))


def test_an_enormous_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "g.yml").write_text("#" * (LARGEST_FILE + 1))
    with pytest.raises(UsageError, match="more than 256 KiB"):
        load([str(tmp_path / "g.yml")])
    with pytest.raises(UsageError, match="cannot read"):
        load([str(tmp_path / "none")])
