"""Flatpak: applications and runtimes of an installation that flatpak itself made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.components.sources.flatpak import commit_tree, dirtree
from support.assigning import Result, assigned
from support.flatpak import TOP, Flatpak


@pytest.fixture(scope="module")
def flatpak(tmp_path_factory: pytest.TempPathFactory) -> Flatpak:
    if shutil.which("flatpak") is None:
        pytest.skip("flatpak is not installed")
    return Flatpak(tmp_path_factory.mktemp("flatpak"))


def names(found: Result) -> set[str]:
    return set(found.paths) - {"filesystem/root"}


ALL = {
    "flatpak/app/org.example.One/stable",
    "flatpak/app/org.example.Two/stable",
    "flatpak/runtime/org.example.Platform/1",
    "flatpak/installation",
    # what both applications have, and what the runtime has, too
    "flatpak/app/org.example.One/stable+app/org.example.Two/stable",
    "flatpak/app/org.example.One/stable+app/org.example.Two/stable+runtime/org.example.Platform/1",
}


def test_each_application_and_runtime_is_a_component(flatpak: Flatpak) -> None:
    found = assigned(flatpak.root)
    assert names(found) == ALL
    active = f"{TOP}/app/org.example.One/x86_64/stable/active"
    files = f"{active.removesuffix('active')}{(flatpak.root / active).readlink()}/files"
    assert found.owner[f"{files}/bin/run"] == "flatpak/app/org.example.One/stable"
    assert found.owner[f"{files}/libshared.so"].endswith("+runtime/org.example.Platform/1")
    exported = f"{TOP}/exports/share/applications/org.example.Two.desktop"
    assert found.owner[exported] == "flatpak/app/org.example.Two/stable"
    loose = {path for path, owner in found.owner.items() if owner == "flatpak/installation"}
    assert not [path for path in loose if "/objects/" in path], loose


def test_objects_that_lost_their_hard_links_follow_their_commits(flatpak: Flatpak, tmp_path: Path) -> None:
    shutil.copytree(flatpak.root, tmp_path / "copy", symlinks=True)
    found = assigned(tmp_path / "copy")
    loose = [path for path in found.paths["flatpak/installation"] if "/objects/" in path]
    assert names(found) == ALL
    assert not loose


def test_an_update_of_an_application_changes_its_component_alone(flatpak: Flatpak) -> None:
    before = assigned(flatpak.root)
    flatpak.export("Two", "2")
    flatpak.update("Two")
    after = assigned(flatpak.root)
    changed = {ident for ident in ALL if before[ident].fingerprint != after[ident].fingerprint}
    assert not changed & {"flatpak/app/org.example.One/stable", "flatpak/runtime/org.example.Platform/1"}
    assert "flatpak/app/org.example.Two/stable" in changed


@given(st.binary(max_size=400))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    for parse in (commit_tree, dirtree):
        try:
            parse(data)
        except ValueError:
            continue


def test_objects_that_flatpak_wrote(flatpak: Flatpak) -> None:
    objects = flatpak.root / TOP / "repo/objects"
    sound = [path.read_bytes() for path in objects.glob("*/*.dirtree")]
    commits = [path.read_bytes() for path in objects.glob("*/*.commit")]
    assert all(len(commit_tree(data)[0]) == 64 for data in commits)
    assert sum(len(dirtree(data)[0]) for data in sound) >= 9
