"""Updates of real applications: what travels is the package that changed, and little else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from images import applications
from support.assigning import assigned
from support.moments import changed


def run(*arguments):
    command = [sys.executable, "-m", "rechunk_podman", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blobs(layout):
    """Return digest -> bytes of the layers in a layout."""
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((layout / "blobs/sha256" / digest).read_text())
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


@pytest.mark.parametrize(
    "builder",
    [
        applications.pip,
        applications.npm,
        applications.pnpm,
        applications.yarn,
        applications.gem,
        applications.composer,
    ],
    ids=lambda builder: builder.__name__,
)
def test_an_update_is_the_package_that_changed(builder, tmp_path):
    names, _, release = changed(builder)
    updated = release.parent / "updated"
    for root, name, more in (
        (release, "old", ()),
        (updated, "new", ("--previous", f"oci:{tmp_path / 'old'}")),
    ):
        run("build", "--rootfs", root, "--output", f"oci:{tmp_path / name}", *more)
    had, has = blobs(tmp_path / "old"), blobs(tmp_path / "new")
    travelled = sum(size for digest, size in has.items() if digest not in had)
    new = assigned(updated)
    expected = sum(new[name].size for name in names if name in new.components)
    # directories above the files, and the ends of archives
    assert travelled <= expected + 10_240 * len(names)
    kept = had.keys() & has.keys()
    assert kept
    for digest in kept:
        blob = digest.replace(":", "/")
        if not (tmp_path / "new/blobs" / blob).exists():
            (tmp_path / "new/blobs" / blob).hardlink_to(tmp_path / "old/blobs" / blob)
    run("verify", updated, f"oci:{tmp_path / 'new'}")
    run("validate", f"oci:{tmp_path / 'new'}")
