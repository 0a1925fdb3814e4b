"""The root filesystem of an Arch Linux, made from the records of pacman."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Prepared, Source, plan_only
from rechunk_podman.packages.alpm import text
from support.updates import command

UPDATED = {"glibc", "openssl", "systemd", "curl", "pacman", "ca-certificates", "sqlite"}
"""Sources of the update of an Arch Linux."""


def arch(top: Path, fixture: Path) -> None:
    """Make the files of an Arch Linux from the records of its packages, without their contents."""
    with tarfile.open(fixture) as archive:
        archive.extractall(top)  # noqa: S202 (our own archive)
    for record in sorted((top / "var/lib/pacman/local").glob("*/mtree")):
        defaults: dict[str, str] = {}
        for line in text.unpack(record.read_bytes(), 1 << 26).decode().splitlines()[1:]:
            name, *words = line.split()
            values = dict(word.split("=", 1) for word in words)
            if name == "/set":
                defaults |= values
            elif not re.match(r"\./\.[A-Z]+$", name):
                encoded = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), name[2:].encode())
                make_entry(top / os.fsdecode(encoded), defaults | values)


def make_entry(path: Path, values: dict[str, str]) -> None:
    """Make a directory, symlink or sparse file as an mtree describes it."""
    (path if values["type"] == "dir" else path.parent).mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    if values["type"] == "link":
        path.symlink_to(values["link"])
        return
    with path.open("wb") as file:
        file.truncate(int(values["size"]))
    path.chmod(int(values["mode"], 8))
    os.utime(path, (float(values["time"]),) * 2)


def shipped(prepared: Prepared, names: set[str]) -> tuple[int, int]:
    """Return the bytes of the components of these sources and the database, and of the layers they are in."""
    size = {component.id: component.size for component in prepared.assignment.components}
    changed = {ident for ident in size if ident.source == "database"}
    changed |= {ident for ident in size if ident.source == "alpm" and ident.name in names}
    layers = [layer.components for layer in prepared.plan.layers if changed & set(layer.components)]
    return sum(size[ident] for ident in changed), sum(size[ident] for layer in layers for ident in layer)


def test_an_update_of_seven_sources_of_an_arch_linux(repository: Path, tmp_path: Path) -> None:
    """All files are 563 MB, and hold zeros. An image of them is built, validated and verified, too."""
    fixture = repository.parent / "shared" / "fixtures" / "alpm-local-arch.tar.gz"
    if not fixture.exists():
        pytest.skip("the database of a real Arch Linux is not beside the checkout")
    top, image = tmp_path / "root", f"oci:{tmp_path / 'image'}"
    top.mkdir()
    arch(top, fixture)
    prepared = plan_only(Source(str(top)), BuildOptions(threads=1, max_layers=64))
    size = {str(component.id): component.size for component in prepared.assignment.components}
    assert sum(name.startswith("alpm/") for name in size) == 117
    # the database's digests stand for the contents, which are not there
    assert sum(bytes_ for name, bytes_ in size.items() if name.startswith("unclaimed/")) < 10_000
    own, layers = shipped(prepared, UPDATED)
    assert own <= layers <= 1.01 * own < 143_000_000
    command("build", "--rootfs", top, "--output", image, "--compression", "zstd")
    command("validate", image)
    command("verify", top, image)
    shown = json.loads(command("inspect", "--json", image))
    versions = {each["id"]: each["version"] for layer in shown["layers"] for each in layer["components"]}
    assert versions["alpm/glibc"].startswith("2.")
