"""Updates of small root filesystems, through the command line: how much travels, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rechunk_podman.cli.app import application
from support.assigning import assigned


@dataclass(frozen=True)
class Update:
    """An update as a client gets it.

    components: that were added, removed or changed.
    size: bytes of the new ones among them. travelled: bytes of the layers that are new.
    changes: of the changelog: package -> (old, new) version; None where the package is absent.
    downloaded: components that `diff` names as changed -> (old, new) version.
    versions: of all components of the new image, as `inspect` shows them.
    """

    components: set[str]
    size: int
    travelled: int
    changes: dict[str, tuple[str | None, str | None]]
    downloaded: dict[str, tuple[str | None, str | None]]
    versions: dict[str, str]


def command(*arguments: object) -> str:
    """Run a command of rechunk-podman, which has to succeed; return its standard output."""
    done = CliRunner().invoke(application(), list(map(str, arguments)))
    assert done.exit_code == 0, done.exception
    return done.stdout


def blobs(layout: Path) -> dict[str, int]:
    """Return digest -> bytes of the layers in a layout."""
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((layout / "blobs/sha256" / digest).read_text())
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def update(before: Path, after: Path, work: Path) -> Update:
    """Build images of two root filesystems in `work`, the second on the first; validate and verify both."""
    old, new = work / "old", work / "new"
    command("build", "--rootfs", before, "--output", f"oci:{old}")
    command("build", "--rootfs", after, "--output", f"oci:{new}", "--previous", f"oci:{old}")
    had, has = blobs(old), blobs(new)
    kept = had.keys() & has.keys()
    assert kept
    for digest in kept:
        blob = f"blobs/{digest.replace(':', '/')}"
        if not (new / blob).exists():
            (new / blob).hardlink_to(old / blob)
    for layout, root in ((old, before), (new, after)):
        command("validate", f"oci:{layout}")
        command("verify", root, f"oci:{layout}")
    one, two = assigned(before).components, assigned(after).components
    changed = {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}
    log = json.loads(command("changelog", "--json", f"oci:{old}", f"oci:{new}"))
    difference = json.loads(command("diff", "--json", f"oci:{old}", f"oci:{new}"))
    return Update(
        changed,
        sum(two[name].size for name in changed if name in two),
        sum(size for digest, size in has.items() if digest not in had),
        {change["name"]: (change["old"], change["new"]) for change in log["packages"]["changes"]},
        _downloaded(difference),
        _versions(json.loads(command("inspect", "--json", f"oci:{new}"))),
    )


def _downloaded(difference: dict[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    found = (
        component for state in ("changed", "new", "removed") for component in difference["components"][state]
    )
    return {each["id"]: (each.get("old_version"), each.get("new_version")) for each in found}


def _versions(facts: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["version"] for layer in facts["layers"] for each in layer["components"]}
