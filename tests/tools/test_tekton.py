"""The Task of `init --template tekton`: from a layout to a layout, twice, without storage or registry."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from rechunk_podman.oci.validate.image import validate
from support import tools
from support.needs import needs_root
from support.pushing import small_tar
from support.rules import check_rules, write_rules
from support.tekton import run_task

pytestmark = needs_root


def layers(layout: Path, digest: str) -> set[str]:
    """The digests of the layers of the one image of a layout."""
    manifest = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
    return {layer["digest"] for layer in manifest["layers"]}


def test_task_twice(tmp_path: Path) -> None:
    """The result names the new manifest; the second image keeps all layers but the one that changed."""
    options = ("--image=acme/tekton", "--kind=app", "--registry=registry.example", "--layers=12")
    folder = tmp_path / "repository"
    folder.mkdir()
    tools.run(*tools.RECHUNK, "init", folder, "--template", "tekton", "--defaults", *options)
    task, _ = yaml.safe_load_all((folder / "tekton/rechunk.yaml").read_text())
    found = []
    for number in (1, 2):
        work, root = tmp_path / f"work{number}", tmp_path / f"root{number}"
        work.mkdir()
        root.mkdir()
        write_rules(work, "/opt/part1", "/opt/part2")
        tools.run("tar", "-C", root, "-xf", small_tar(tmp_path / "small.tar", number))
        build = ("build", "--rootfs", root, "--output", f"oci:{work}/image")
        tools.run(*tools.RECHUNK, *build, "--max-layers", "1", "--no-ledger")
        values = {"params.PREVIOUS": f"oci:{tmp_path}/work1/rechunked"} if number == 2 else {}
        digest = run_task(task, work, dict(os.environ), values)
        validate(f"oci:{work}/rechunked").check()
        tools.run(*tools.RECHUNK, "verify", f"oci:{work}/image", f"oci:{work}/rechunked")
        check_rules(json.loads(tools.run(*tools.RECHUNK, "inspect", f"oci:{work}/rechunked", "--json").out))
        found.append(layers(work / "rechunked", digest))
    assert len(found[0]) == len(found[1]) > 4
    assert len(found[1] - found[0]) == 1
