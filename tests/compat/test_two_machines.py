"""Two machines with other versions of everything push to one repository: what did not change stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from images import debian
from images import storage as images_storage
from support import tools
from support.needs import require
from support.pushing import Uploads, document

if TYPE_CHECKING:
    from conftest import Machine

LAYERS = "--max-layers=40"


def blobs(reference: str) -> dict[str, str]:
    """diff_id -> digest of the blob, of an image in the registry."""
    manifest: dict[str, Any] = json.loads(document(reference))
    config: dict[str, Any] = json.loads(document(reference, "--config"))
    digests = [layer["digest"] for layer in manifest["layers"]]
    return dict(zip(config["rootfs"]["diff_ids"], digests, strict=True))


def imported(machine: Machine, moment: str, folder: Path) -> str:
    """Debian in the storage there: its name."""
    layout = images_storage.oci_layout([debian.tar(moment)], folder / moment)
    images_storage.skopeo_copy(f"oci:{layout}", f"oci:{machine.share}/two-{moment}")
    return machine.import_layout(machine.share / f"two-{moment}", f"localhost/two:{moment}")


def test_unchanged_layers_keep_their_digests(machine: Machine, tmp_path: Path) -> None:
    """The first release is pushed from here; it and an update from there, without one layer more."""
    require("docker-registry", "podman", "skopeo")
    with tools.loopback_registry(tmp_path / "registry") as registry:
        name = f"{registry.address}/two/debian"
        with tools.private_storage(tmp_path / "storage") as storage:
            image = storage.import_tar(debian.tar("release"), "localhost/two:release")
            storage.rechunk("split", image, "--tls-verify=false", LAYERS, f"--push=docker://{name}:1")
        first = blobs(f"{name}:1")
        for moment in ("release", "updated"):
            source = imported(machine, moment, tmp_path)
            watch = Uploads(registry)
            words = ("--tls-verify=false", LAYERS, f"--previous=docker://{name}:1", "--json")
            done = machine.rechunk("split", source, f"--push=docker://{name}:{moment}", *words)
            told = json.loads(done.out)
            found = blobs(f"{name}:{moment}")
            kept = found.keys() & first.keys()
            assert all(found[diff_id] == first[diff_id] for diff_id in kept)
            fresh = {layer["digest"] for layer in told["layers"] if not layer["reused"]}
            config = json.loads(document(f"{name}:{moment}"))["config"]["digest"]
            assert len(fresh) == len(found) - len(kept)
            if moment == "release":
                assert (fresh, watch.new) == (set(), set())  # the very same image
            else:
                assert 0 < len(fresh) < len(found) / 2
                assert watch.new == {*fresh, config, told["digest"]}
            machine.run(
                *("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"),
                *("--src-tls-verify=false", f"docker://{name}:{moment}", f"oci:/mnt/pulled-{moment}"),
            )
            machine.rechunk("validate", f"oci:/mnt/pulled-{moment}")
            machine.rechunk("verify", f"containers-storage:{source}", f"oci:/mnt/pulled-{moment}")
