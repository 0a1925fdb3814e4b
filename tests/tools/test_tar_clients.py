"""Odd tars through podman, umoci and our reader: the same files, or all refuse.

Where the two clients disagree, ours is one of them or refuses, and validate() reports the layer.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.odd_tars import CASES
from rechunk_podman.errors import RechunkError
from rechunk_podman.explain.files import read_tree_of
from rechunk_podman.model import Kind
from rechunk_podman.oci.validate.image import validate
from support.needs import needs_root, require
from support.oci_material import Layout
from support.tools import Storage, private_storage, run

pytestmark = needs_root
REFUSED = "refused"


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    require("podman", "skopeo", "umoci")
    # podman takes no more than 50 characters for a directory of its state
    with (
        tempfile.TemporaryDirectory(prefix="odd-", dir="/tmp") as folder,
        private_storage(Path(folder) / "s") as storage,
    ):
        yield storage


def listing(reference: str) -> Any:
    """Path -> all that a client can see of it, but for the times of directories; REFUSED if unreadable."""
    try:
        digest = read_tree_of(reference)
    except RechunkError:
        return REFUSED
    found = {}
    for path, entry in digest.tree.items():
        is_file, is_directory = entry.kind is Kind.FILE, entry.kind is Kind.DIRECTORY
        found[path] = (
            entry.kind,
            None if entry.kind is Kind.SYMLINK else oct(entry.mode),
            (entry.uid, entry.gid),
            None if is_directory else entry.mtime,
            entry.target,
            entry.rdev if entry.kind in (Kind.CHAR, Kind.BLOCK) else None,
            entry.xattrs,
            (entry.size, entry.nlink, digest.sha256[path].hex()) if is_file else None,
        )
    return found


def by_podman(storage: Storage, layout: Path, name: str) -> Any:
    image = f"localhost/{name}:t"
    source, target = f"oci:{layout}", f"containers-storage:{image}"
    if storage.run("skopeo", "--insecure-policy", "copy", "-q", source, target, check=False).code:
        return REFUSED
    return listing(storage.run("podman", "image", "mount", image).out.strip())


def by_umoci(layout: Path, bundle: Path) -> Any:
    try:
        if run("umoci", "unpack", "--image", f"{layout}:t", bundle, check=False).code:
            return REFUSED
        return listing(str(bundle / "rootfs"))
    finally:
        shutil.rmtree(bundle, ignore_errors=True)


@pytest.mark.parametrize("name", CASES)
def test_clients_and_our_reader_see_the_same_files(tmp_path, storage, name):
    layout = Layout(tmp_path / "image")
    for tar in CASES[name]:
        layout.layer(tar)
    layout.entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    path = layout.finish()
    clients = [by_podman(storage, path, name), by_umoci(path, tmp_path / "bundle")]
    ours = listing(f"oci:{path}")
    if clients[0] == clients[1]:
        assert ours == clients[0]
    else:
        # umoci leaves directories as lower layers have them; an overlay shows those of the layer.
        assert ours in (clients[:1] if name.startswith("two-parent") else (*clients, REFUSED))
        assert validate(path).problems
    if ours == REFUSED:
        # A layer is looked at alone: what depends on lower ones is only suspicious.
        assert validate(path, strict=len(CASES[name]) > 1).errors
