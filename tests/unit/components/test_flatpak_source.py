"""Flatpak: applications and runtimes of an installation that flatpak itself made."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.components.sources.flatpak import commit_tree, dirtree
from support.assigning import Result, assigned
from support.fuzzing import SECONDS, damaged

TOP = "var/lib/flatpak"
RUNTIME = "runtime/org.example.Platform/x86_64/1"
DESKTOP = "[Desktop Entry]\nName=x\nType=Application\nExec=run\n"


class Flatpak:
    """An installation with a runtime and two applications from a repository of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        (self.root / "var/lib").mkdir(parents=True)
        self.env = {
            **os.environ,
            "FLATPAK_USER_DIR": str(self.root / TOP),
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "GIO_USE_VFS": "local",
        }
        platform = self._tree("platform", {"files/none": "", "usr/lib/libshared.so": "s" * 200_000})
        about = "[Runtime]\nname=org.example.Platform\nruntime={0}\nsdk={0}\n"
        (platform / "metadata").write_text(about.format(RUNTIME.partition("/")[2]))
        self._run("build-export", "-r", str(folder / "repo"), str(platform), "1")
        for name in ("One", "Two"):
            self.export(name, "1")
        self._run("--user", "remote-add", "--no-gpg-verify", "local", str(folder / "repo"))
        applications = [f"org.example.{name}//stable" for name in ("One", "Two")]
        self._run("--user", "install", "-y", "local", "org.example.Platform//1", *applications)

    def _tree(self, name: str, files: dict[str, str]) -> Path:
        for path, content in files.items():
            file = self.folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return self.folder / name

    def _run(self, *arguments: str) -> None:
        command = ["flatpak", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def export(self, name: str, version: str) -> None:
        """Put a version of an application into the repository."""
        files = {
            "files/bin/run": f"{name} {version}",
            "files/common": "c" * 100_000,
            "files/libshared.so": "s" * 200_000,
            f"export/share/applications/org.example.{name}.desktop": DESKTOP,
        }
        tree = self._tree(name, files)
        about = f"[Application]\nname=org.example.{name}\nruntime={RUNTIME.partition('/')[2]}\ncommand=run\n"
        (tree / "metadata").write_text(about)
        self._run("build-export", str(self.folder / "repo"), str(tree), "stable")

    def update(self, name: str) -> None:
        """Install what the repository has of an application."""
        self._run("--user", "update", "-y", f"org.example.{name}//stable")


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


def test_damaged_objects_are_read_or_refused(flatpak: Flatpak) -> None:
    objects = flatpak.root / TOP / "repo/objects"
    sound = [path.read_bytes() for path in objects.glob("*/*.dirtree")]
    commits = [path.read_bytes() for path in objects.glob("*/*.commit")]
    assert all(len(commit_tree(data)[0]) == 64 for data in commits)
    assert sum(len(dirtree(data)[0]) for data in sound) >= 9
    chance = random.Random(5)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            dirtree(damaged(chance.choice(sound), chance))
            commit_tree(damaged(chance.choice(commits), chance))
        except ValueError:
            continue
