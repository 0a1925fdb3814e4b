"""podman, skopeo, buildah and crane of a newer machine pull what `split --push` pushed there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from images import forky
from images.cache import MissingTool
from support import tools
from support.machine import Machine
from support.needs import require, unavailable
from support.pushing import Pushed

MEDIA_TYPES = {
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}

#: name of the source image, of the pulled one, folder of the storage that this one lies in
COMPARE = """
set -eu
a=$(podman image mount "$1") b=$(podman --root "$3/root" --runroot "$3/run" image mount "$2")
python3 -m rechunk_podman verify "$a" "$b"
python3 -c 'import sys; from pathlib import Path; from support import compare
print(*compare.differences(Path(sys.argv[1]), Path(sys.argv[2])), sep="\\n", end="")' "$a" "$b" \\
    >/mnt/differences
podman image unmount "$1" >/dev/null
"""

#: A PID namespace that ends with the command, and conmon's clean-up of the container with it.
OWN_PIDS = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry of this machine, on loopback, which the chroot shares."""
    require("docker-registry")
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module", params=sorted(MEDIA_TYPES))
def pushed(request: pytest.FixtureRequest, machine: Machine, image: str, registry: tools.Registry) -> Pushed:
    """Each image, pushed from there with each compression."""
    kind = image.partition(":")[0].rpartition("/")[2]
    name = f"{registry.address}/{kind}/{request.param}:latest"
    words = ("--tls-verify=false", f"--push=docker://{name}", f"--compression={request.param}")
    return Pushed(image, request.param, name, machine.rechunk("split", image, *words).out.strip())


@pytest.fixture
def elsewhere(machine: Machine) -> Iterator[str]:
    """A folder there, for a storage of its own; removed afterwards."""
    folder = machine.share / "elsewhere"
    folder.mkdir()
    yield "/mnt/elsewhere"
    tools.remove_storage(folder)


@pytest.fixture(scope="module")
def crane(machine: Machine) -> tuple[str, ...]:
    """The command of Debian's crane, for use there."""
    try:
        program = forky.programs() / "crane"
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    copy = machine.share / "crane"
    copy.write_bytes(program.read_bytes())
    copy.chmod(0o755)
    return ("/mnt/crane",)


def test_layers_are_of_that_compression(machine: Machine, pushed: Pushed) -> None:
    """The layers that the tests below pull have the compression of their parameter."""
    command = ("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{pushed.reference}")
    manifest: dict[str, Any] = json.loads(machine.run(*command).out)
    assert {layer["mediaType"] for layer in manifest["layers"]} == {MEDIA_TYPES[pushed.compression]}
    assert all("org.rechunk.component" in layer["annotations"] for layer in manifest["layers"])


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
def test_pull(machine: Machine, elsewhere: str, pushed: Pushed, client: str) -> None:
    """A pull by digest into an empty storage gives the same files, and a container of it runs."""
    place = ("--root", f"{elsewhere}/root", "--runroot", f"{elsewhere}/run")
    if client == "skopeo":
        name = "localhost/pulled:latest"
        target = f"containers-storage:[overlay@{elsewhere}/root+{elsewhere}/run]{name}"
        command = ("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false")
        machine.run(*command, f"docker://{pushed.pinned}", target)
    else:
        name = pushed.pinned
        machine.run(client, *place, "pull", "--quiet", "--tls-verify=false", name)
    machine.run("sh", "-c", COMPARE, "sh", pushed.source, name, elsewhere)
    assert (machine.share / "differences").read_text() == ""
    if "debian" in pushed.source and client == "podman":
        run = ("podman", *place, "run", "--rm", "--network=none", "--pull=never", name)
        assert machine.run(*OWN_PIDS, *run, "python3", "-c", "print(6*7)").out == "42\n"


def test_crane(machine: Machine, crane: tuple[str, ...], pushed: Pushed) -> None:
    """It compares every digest, diff_id and size; what it fetches is sound and the same.

    Its validate (of 0.20) decompresses only gzip, so zstd is looked at without reading the layers.
    """
    fast = ("--fast",) if pushed.compression == "zstd" else ()
    machine.run(*crane, "validate", *fast, "--insecure", "--remote", pushed.pinned)
    assert machine.run(*crane, "digest", "--insecure", pushed.reference).out.strip() == pushed.digest
    folder = f"pulled-{pushed.compression}-{pushed.source.partition(':')[0].rpartition('/')[2]}"
    machine.run(*crane, "pull", "--insecure", "--format=oci", pushed.reference, f"/mnt/{folder}")
    machine.rechunk("validate", f"oci:/mnt/{folder}")
    machine.rechunk("verify", f"containers-storage:{pushed.source}", f"oci:/mnt/{folder}")
