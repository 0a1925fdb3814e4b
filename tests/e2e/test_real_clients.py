"""Every client that pulls gets the source's files back: podman, skopeo, buildah, umoci, containerd's ctr."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images import debian, oddities
from images.cache import MissingTool, pack, unpack
from support import compare, tools
from support.needs import require, unavailable
from support.pushing import Pushed

SHELL = (
    *("bin", "lib", "lib64", "usr/bin/cat", "usr/bin/dash", "usr/bin/sh"),
    *("libc.so.6", "libc.musl", "ld-linux"),
)
"""The files that a shell of Debian needs: paths, and beginnings of names in the folders of libraries."""

MEDIA_TYPES = {
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}

LABEL_LIMIT = 4096
"""Bytes of key and value that containerd takes in a label of a container."""

CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{folder}/socket"
[ttrpc]
  address = "{folder}/socket.ttrpc"
"""


@dataclass(frozen=True)
class Containerd:
    """A containerd with a socket and folders of its own. snapshotter: overlayfs where that works."""

    folder: Path
    snapshotter: str = "native"

    def ctr(self, *words: str | Path, check: bool = True) -> tools.Done:
        """Runs ctr on it."""
        return tools.run("ctr", "--address", self.folder / "socket", *words, check=check)


def shell(path: str) -> bool:
    """Return True if a path of a Debian root filesystem (without ./) belongs to its shell."""
    folder, _, name = path.rpartition("/")
    return path in SHELL or (folder.startswith("usr/lib") and name.startswith(SHELL[6:]))


@pytest.fixture(scope="module")
def source(storage: tools.Storage, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything rare, and a shell that runs, as an image of one layer: its name."""
    folder = tmp_path_factory.mktemp("source")
    try:
        system = debian.tar("release")
    except MissingTool as error:
        unavailable(f"{error} is not installed")
    unpack(oddities.tar(), folder / "root")
    with tarfile.open(system) as archive:
        names = [member.name for member in archive if shell(member.name.removeprefix("./"))]
    unpack(system, folder / "root", *names)
    pack(folder / "root", folder / "root.tar")
    return storage.import_tar(folder / "root.tar", "localhost/clients:source")


@pytest.fixture(scope="module", params=sorted(MEDIA_TYPES))
def pushed(
    request: pytest.FixtureRequest, storage: tools.Storage, registry: tools.Registry, source: str
) -> Pushed:
    """The image, pushed with each compression."""
    name = f"{registry.address}/clients/{request.param}:latest"
    done = storage.rechunk(
        *("split", source, "--tls-verify=false", f"--push=docker://{name}"),
        *(f"--compression={request.param}", "--label=org.example.long=" + "x" * 3000),
    )
    return Pushed(source, request.param, name, done.out.strip())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tools.Storage]:
    """An empty storage: another machine."""
    with tools.private_storage(tmp_path / "elsewhere") as found:
        yield found


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """containerd, started for this module and ended with it."""
    require("containerd", "ctr")
    folder = tmp_path_factory.mktemp("containerd")
    tools.in_memory(folder)
    (folder / "config.toml").write_text(CONTAINERD.format(folder=folder))
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["containerd", "--config", folder / "config.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                daemon = Containerd(folder)
                daemon.ctr("--connect-timeout=30s", "version")
                rows = [line.split() for line in daemon.ctr("plugins", "ls").out.splitlines()]
                if any(row[1] == "overlayfs" and row[-1] == "ok" for row in rows):
                    daemon = Containerd(folder, "overlayfs")
                yield daemon
            finally:
                process.terminate()
                process.wait(timeout=30)
    finally:
        tools.remove_storage(folder)


def same_tree(storage: tools.Storage, source: str, other: Path) -> None:
    """The image and a directory hold the same files: by verify, and by a second opinion."""
    with storage.mounted(source) as root:
        storage.rechunk("verify", root, other)
        assert compare.differences(root, other) == []


@contextmanager
def mounted_by_ctr(daemon: Containerd, reference: str, target: Path) -> Iterator[Path]:
    """Yield the directory where containerd mounted an image that it pulled."""
    target.mkdir()
    chosen = ("--snapshotter", daemon.snapshotter)
    daemon.ctr("images", "mount", *chosen, reference, target)
    try:
        yield target
    finally:
        daemon.ctr("images", "unmount", *chosen, "--rm", target)


def test_layers_are_of_that_compression(pushed: Pushed) -> None:
    """The layers that the tests below pull have the compression of their parameter."""
    command = ("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{pushed.reference}")
    manifest: dict[str, Any] = json.loads(tools.run(*command).out)
    assert {layer["mediaType"] for layer in manifest["layers"]} == {MEDIA_TYPES[pushed.compression]}
    assert len(manifest["layers"]) > 1


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
def test_pull(storage: tools.Storage, elsewhere: tools.Storage, pushed: Pushed, client: str) -> None:
    """A pull by digest into an empty storage gives the same files, and a container of it runs."""
    if client == "skopeo":
        name = "localhost/pulled:latest"
        copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false")
        elsewhere.run(*copy, f"docker://{pushed.pinned}", f"containers-storage:{name}")
    else:
        name = pushed.pinned
        elsewhere.run(client, "pull", "--quiet", "--tls-verify=false", name)
    with elsewhere.mounted(name) as pulled:
        same_tree(storage, pushed.source, pulled)
    done = elsewhere.container(name, "/bin/sh", "-c", 'echo "$GREETING"; test -f /names/café')
    assert done.out == "hello world\n"


def test_umoci(storage: tools.Storage, pushed: Pushed) -> None:
    """Fetched by skopeo, unpacked by umoci; of directories it keeps the oldest layer's metadata.

    Before 0.5 it knows no zstd, so that is recompressed on the way.
    """
    require("umoci")
    with storage.scratch() as folder:
        command = ("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false")
        change = {"gzip": "--preserve-digests", "zstd": "--dest-compress-format=gzip"}[pushed.compression]
        tools.run(*command, change, f"docker://{pushed.pinned}", f"oci:{folder}/layout:latest")
        tools.run("umoci", "unpack", "--image", f"{folder}/layout:latest", folder / "bundle")
        with storage.mounted(pushed.source) as root:
            before, after = compare.look(root), compare.look(folder / "bundle/rootfs")
    assert before.keys() == after.keys()


def test_containerd(storage: tools.Storage, containerd: Containerd, pushed: Pushed, tmp_path: Path) -> None:
    """ctr pulls and unpacks it, the tree is the same, and a container can be made of it."""
    chosen = ("--snapshotter", containerd.snapshotter)
    containerd.ctr("images", "pull", "--plain-http", *chosen, pushed.reference)
    row = next(
        line for line in containerd.ctr("images", "ls").out.splitlines() if line.startswith(pushed.reference)
    )
    assert pushed.digest in row
    with mounted_by_ctr(containerd, pushed.reference, tmp_path / "mounted") as root:
        same_tree(storage, pushed.source, root)
    name = f"made-{pushed.compression}"
    containerd.ctr("containers", "create", *chosen, pushed.reference, name, "/bin/sh")
    told = json.loads(containerd.ctr("containers", "info", name).out)
    assert told["Image"] == pushed.reference
    assert told["Labels"]["org.example.long"] == "x" * 3000
    assert max(len(key) + len(value) for key, value in told["Labels"].items()) <= LABEL_LIMIT
