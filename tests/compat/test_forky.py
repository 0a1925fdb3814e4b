"""`split`, both engines and the plain Containerfile.splitter with buildah of at least 1.43."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from images import debian
from images.cache import unpack
from support import tools
from support.machine import Machine

COMPARE = """
set -eu
a=$(podman image mount "$1") b=$(podman image mount "$2")
python3 -c 'import sys; from pathlib import Path; from support import compare
print(*compare.differences(Path(sys.argv[1]), Path(sys.argv[2])), sep="\\n", end="")' "$a" "$b"
podman image unmount "$1" "$2" >/dev/null
"""


def layers(machine: Machine, name: str) -> list[str]:
    """The diff_ids of an image there."""
    document = json.loads(machine.run("podman", "image", "inspect", name).out)
    return list(document[0]["RootFS"]["Layers"])


def manifest(machine: Machine, name: str) -> dict[str, Any]:
    """Its manifest, as that storage keeps it."""
    return dict(json.loads(machine.run("skopeo", "inspect", "--raw", f"containers-storage:{name}").out))


def same(machine: Machine, one: str, other: str) -> None:
    """Assert the same files by verify, and by a comparison of the mounted images."""
    machine.rechunk("verify", f"containers-storage:{one}", f"containers-storage:{other}")
    assert machine.run("sh", "-c", COMPARE, "sh", one, other).out == ""


def test_buildah_is_new(machine: Machine) -> None:
    """The machine has buildah 1.43 or newer."""
    found = re.search(r"version (\d+)\.(\d+)", machine.run("buildah", "--version").out)
    assert found
    assert (int(found[1]), int(found[2])) >= (1, 43)


def test_both_engines_give_the_same_layers(machine: Machine, image: str, chunker_image: str) -> None:
    results = []
    for engine in ("native", "buildah"):
        result = f"localhost/split-{engine}:latest"
        machine.rechunk("split", image, "--tag", result, "--engine", engine, "--max-layers", "40")
        same(machine, image, result)
        results.append(layers(machine, result))
    assert results[0] == results[1]
    assert len(results[0]) > 10


def test_absent_volumes_stay_absent(machine: Machine, absent_volume: str, chunker_image: str) -> None:
    """This buildah makes the directories of volumes in the root filesystem of a stage, not of an image."""
    target = "localhost/split-volume:latest"
    machine.rechunk("split", absent_volume, "--tag", target, "--engine", "buildah")
    done = machine.run("sh", "-c", COMPARE, "sh", absent_volume, target)
    assert done.out == ""


def test_plain_buildah(machine: Machine, image: str, chunker_image: str, repository: Path) -> None:
    """The call of the README. A bare final FROM keeps the annotations of manifest and layers."""
    context = machine.share / "context"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    shutil.copy(repository / "Containerfile.splitter", context)
    told = machine.run("podman", "image", "inspect", image).out
    (context / "rechunk-config.json").write_text(told)
    target = "localhost/plain:latest"
    machine.run(
        *("buildah", "build", "--skip-unused-stages=false", "--from", image),
        *("-v", "/mnt/context:/run/src", "--security-opt", "label=disable"),
        *("--build-arg", f"CHUNKER={chunker_image}", "--build-arg", "RECHUNK_ARGS=--max-layers 40"),
        *("-t", target, "-f", "Containerfile.splitter", "."),
        cwd="/mnt/context",
    )
    same(machine, image, target)
    native = "localhost/plain-native:latest"
    machine.rechunk("split", image, "--tag", native, "--engine", "native", "--max-layers", "40")
    assert layers(machine, target) == layers(machine, native)
    assert all(
        "org.rechunk.component" in layer["annotations"] for layer in manifest(machine, target)["layers"]
    )
    assert (
        json.loads(told)[0]["Config"]["Env"]
        == json.loads(machine.run("podman", "image", "inspect", target).out)[0]["Config"]["Env"]
    )


def test_runs(machine: Machine, image: str) -> None:
    if "debian" not in image:
        pytest.skip("this image holds no program")
    machine.rechunk("split", image, "--tag", "localhost/runs:latest", "--engine", "native")
    command = (
        "podman",
        "run",
        "--rm",
        "--network=none",
        "localhost/runs:latest",
        "python3",
        "-c",
        "print(6*7)",
    )
    assert machine.run(*command).out == "42\n"


def test_another_machine_makes_the_same_layers(machine: Machine, image: str, tmp_path: Path) -> None:
    """This Python and its libraries on a plain directory, and the newer ones on a mounted image."""
    if "debian" not in image:
        pytest.skip("one image is enough")
    unpack(debian.tar("release"), tmp_path / "root")
    target = f"oci:{tmp_path}/layout"
    options = ("--max-layers", "40", "--compression", "none")
    tools.run(*tools.RECHUNK, "build", "--rootfs", tmp_path / "root", "--output", target, *options)
    config = tools.run("skopeo", "--insecure-policy", "inspect", "--config", target)
    machine.rechunk(
        "split", image, "--tag", "localhost/there:latest", "--engine", "native", "--max-layers", "40"
    )
    assert json.loads(config.out)["rootfs"]["diff_ids"] == layers(machine, "localhost/there:latest")
