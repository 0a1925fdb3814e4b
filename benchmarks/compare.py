"""Compare layouts of layers by the cost of an update: for the push, and for the pull.

    python benchmarks/compare.py [--runs 1] [--kind debian --kind rpm] [--write]

A Debian and an rpm image and their updates (benchmarks/plain.py), in each of these ways:

* in the layers that they were built in: base, packages, configuration;
* the same as zstd:chunked, of which the client fetches what none of its layers holds;
* squashed to one layer;
* `rechunk-podman split` at 64, 120 and 400 layers, the update with `--previous` and `--state`.

Each way has a registry on loopback and a client of its own, an empty storage of podman in a chroot of a newer
distribution (older ones take no 400 layers). The client pulls the image, then the update. Taken are

* pulled: bytes of all answers to the client's requests for manifests and blobs, by the registry's log;
* uploaded: bytes that the registry's blob store grew by;
* push: seconds of `podman push --compression-format zstd`, of `skopeo copy --dest-compress-format
  zstd:chunked` (of the newer distribution, from a layout), or of `split --push`, which lays the layers, too;
  pull: seconds of `podman pull`. The network is none, so neither holds the time of transfer;
* disk: what the client's storage occupies.

In the end all pulled updates have to hold the same files. --write puts the figures into the table of
docs/comparison.md. Needs root, and 10 GB in TMPDIR (or /var/tmp).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import plain
from figures import write_figures
from images import forky
from images import storage as images_storage
from images.cache import call
from support import tools
from support.machine import Machine, newer

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "comparison.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

WAYS = ("plain", "chunked", "squashed", "64", "120", "400")
TITLES = {
    "plain": "as built: base, packages, configuration",
    "chunked": "the same as zstd:chunked",
    "squashed": "squashed to one layer",
    "64": "`split --max-layers 64`",
    "120": "`split --max-layers 120`",
    "400": "`split --max-layers 400`",
}

_ANSWER = re.compile(r'"GET /v2/[^ ]*/(?:blobs|manifests)/[^ ]* [^"]*" 20[06] (\d+) ')

#: A client's storage. Without these options podman fetches zstd:chunked layers whole.
STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{place}/root"
runroot = "{place}/run"
[storage.options.pull_options]
enable_partial_images = "true"
"""

#: Configurations of two storages there, and the name of an image in both.
SAME_FILES = """
set -eu
one=$(CONTAINERS_STORAGE_CONF=$1 podman image mount "$3")
two=$(CONTAINERS_STORAGE_CONF=$2 podman image mount "$3")
python3 -m rechunk_podman verify "$one" "$two"
CONTAINERS_STORAGE_CONF=$1 podman image unmount "$3"
CONTAINERS_STORAGE_CONF=$2 podman image unmount "$3"
"""


@dataclass(frozen=True)
class Client:
    """A storage on the newer machine."""

    machine: Machine
    name: str

    @classmethod
    def empty(cls, machine: Machine, name: str) -> Client:
        """A new one."""
        client = cls(machine, name)
        (machine.share / name).mkdir()
        (machine.share / f"{name}.conf").write_text(STORAGE_CONF.format(place=f"/mnt/{name}"))
        return client

    @property
    def conf(self) -> str:
        """Its configuration, as that machine names it."""
        return f"/mnt/{self.name}.conf"

    def podman(self, *words: str) -> None:
        """Run podman as a user runs it."""
        self.machine.run("env", f"CONTAINERS_STORAGE_CONF={self.conf}", "podman", *words)

    @property
    def disk(self) -> int:
        """Bytes that its storage occupies; of hard links one."""
        return occupied(self.machine.share / self.name)

    def remove(self) -> None:
        """Remove a directory and everything below it."""
        if (self.machine.share / self.name).exists():
            tools.remove_storage(self.machine.share / self.name)


@dataclass(frozen=True)
class Step:
    """A release pushed and pulled: seconds and bytes. disk: of the client afterwards."""

    push: float
    uploaded: int
    pull: float
    pulled: int
    disk: int


@dataclass(frozen=True)
class Taken:
    """Both releases in one way. layers: of the update."""

    layers: int
    image: Step
    update: Step


def occupied(folder: Path) -> int:
    """Bytes on disk of all files below a folder."""
    seen = {}
    for path, directories, files in os.walk(folder):
        for name in (*directories, *files):
            status = os.lstat(os.path.join(path, name))
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def stored_in(registry: tools.Registry) -> int:
    """Bytes of all blobs that a registry holds."""
    blobs = registry.log.parent / "content/docker/registry/v2/blobs"
    return sum(path.stat().st_size for path in blobs.glob("sha256/*/*/data"))


def sent_by(registry: tools.Registry, since: int) -> int:
    """Bytes of manifests and blobs that a registry sent, after so many lines of its log."""
    lines = registry.log.read_text().splitlines()[since:]
    return sum(int(match[1]) for line in lines if (match := _ANSWER.search(line)))


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    os.sync()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def local(kind: str, way: str, number: int) -> str:
    """The name of an image in storage here: the layers as built, or the one layer."""
    return f"localhost/{kind}-{'squashed' if way == 'squashed' else 'plain'}:{number}"


def provide(storage: tools.Storage, machine: Machine, kind: str, folder: Path) -> None:
    """Both moments of an image into storage, as built and squashed; as built for `machine`, too."""
    for number in range(2):
        image = plain.image(kind, number)
        for way, layers in (("plain", image.layers), ("squashed", (image.whole,))):
            with tempfile.TemporaryDirectory(dir=folder) as name:
                layout = images_storage.oci_layout(layers, Path(name) / "layout", config={"Cmd": ["/bin/sh"]})
                storage.copy(f"oci:{layout}", f"containers-storage:{local(kind, way, number)}")
                if way == "plain":
                    storage.copy(f"oci:{layout}", f"oci:{machine.share}/{kind}-{number}")
    for number in range(2):
        storage.rechunk("verify", local(kind, "plain", number), local(kind, "squashed", number))


def push(
    storage: tools.Storage, machine: Machine, kind: str, way: str, number: int, target: str, state: Path
) -> None:
    """Push one release to the registry, under the tag that clients follow."""
    if way == "chunked":
        words = ("--dest-tls-verify=false", "--dest-compress-format", "zstd:chunked")
        source = f"oci:/mnt/{kind}-{number}"
        machine.run("skopeo", "--insecure-policy", "copy", "--quiet", *words, source, f"docker://{target}")
        return
    if way in ("plain", "squashed"):
        options = ("--quiet", "--tls-verify=false", "--compression-format", "zstd")
        storage.run("podman", "push", *options, local(kind, way, number), f"docker://{target}")
        return
    memory = (
        ("--previous", f"docker://{target}", "--state", str(state)) if number else ("--state", str(state))
    )
    options = ("--tls-verify=false", f"--push=docker://{target}", f"--max-layers={way}", *memory)
    storage.rechunk("split", local(kind, way, number), *options)


def one_way(storage: tools.Storage, machine: Machine, kind: str, way: str, folder: Path) -> Taken:
    """Both releases pushed, each pulled by the same client, which stays as it is then."""
    client = Client.empty(machine, f"{kind}-{way}")
    steps = []
    with tools.loopback_registry(folder / "registry") as registry:
        target = f"{registry.address}/{kind}:latest"
        for number in range(2):
            before = stored_in(registry)

            def pushing(number: int = number) -> None:
                push(storage, machine, kind, way, number, target, folder / "state.json")

            pushed = seconds(pushing)
            lines = len(registry.log.read_text().splitlines())
            pulled = seconds(lambda: client.podman("pull", "--quiet", "--tls-verify=false", target))
            steps.append(
                Step(pushed, stored_in(registry) - before, pulled, sent_by(registry, lines), client.disk)
            )
        document = call(
            "skopeo", "inspect", "--tls-verify=false", f"docker://{target}", "--format={{len .Layers}}"
        )
        client.podman("tag", target, f"localhost/{kind}:pulled")
    return Taken(int(document), *steps)


def one_run(storage: tools.Storage, machine: Machine, kind: str, folder: Path) -> dict[str, Taken]:
    """Every way once; the clients are removed when their updates were found to hold the same files."""
    taken = {}
    clients = {way: Client(machine, f"{kind}-{way}") for way in WAYS}
    try:
        for way in WAYS:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                taken[way] = one_way(storage, machine, kind, way, Path(name))
            print(f"{kind}, {way}: {taken[way]}", flush=True)
            if way != WAYS[0]:
                confs = (clients[WAYS[0]].conf, clients[way].conf)
                machine.run("sh", "-c", SAME_FILES, "sh", *confs, f"localhost/{kind}:pulled")
                clients[way].remove()
    finally:
        for client in clients.values():
            client.remove()
    return taken


def median(values: list[float]) -> float:
    """Of the runs."""
    return statistics.median(values)


def mega(count: float) -> str:
    """Bytes as the table shows them."""
    return f"{count / 1e6:,.1f} MB"


def rows(runs: list[dict[str, Taken]]) -> str:
    """The lines of one image."""
    text = ""
    for way in WAYS:
        found = [run[way] for run in runs]
        last = found[-1]
        cells = (
            TITLES[way],
            str(last.layers),
            mega(median([x.update.pulled for x in found])),
            f"{median([x.update.pull for x in found]):.1f} s",
            f"{mega(last.image.disk)} + {mega(last.update.disk - last.image.disk)}",
            mega(median([x.update.uploaded for x in found])),
            f"{median([x.update.push for x in found]):.1f} s",
            mega(last.image.pulled),
            f"{median([x.image.pull for x in found]):.1f} s",
            f"{median([x.image.push for x in found]):.1f} s",
        )
        text += "| " + " | ".join(cells) + " |\n"
    return text


def table(kind: str, runs: list[dict[str, Taken]]) -> str:
    """The figures of one image as they stand in the document."""
    size = sum(layer.stat().st_size for layer in plain.image(kind, 1).layers)
    return (
        f"**{'Debian' if kind == 'debian' else 'The rpm image'}** ({mega(size)} of files)\n\n"
        "| layers | how many | update: pulled | pull | client's disk: image + update | uploaded | push "
        "| first image: pulled | pull | push |\n"
        f"|{'---|' * 10}\n{rows(runs)}\n"
    )


def main() -> int:
    """Measures, prints, and with --write keeps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=plain.KINDS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    # Whatever ends it, nothing stays mounted or running.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    runs: dict[str, list[dict[str, Taken]]] = {kind: [] for kind in options.kind or plain.KINDS}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:  # noqa: S108
        folder = Path(name)
        with (
            newer(forky.newest(), folder / "machine", REPOSITORY, memory=False) as machine,
            tools.private_storage(folder / "storage") as storage,
        ):
            version = machine.run("podman", "--version").out.split()[-1]
            for kind in runs:
                provide(storage, machine, kind, folder)
            for _ in range(options.runs):
                for kind, found in runs.items():
                    found.append(one_run(storage, machine, kind, folder))
    times = "one run" if options.runs == 1 else f"medians of {options.runs} runs"
    text = (
        f"On {os.cpu_count()} cores that other work shared, pulled by podman {version}; times: {times}.\n\n"
        + "".join(table(kind, found) for kind, found in runs.items()).rstrip("\n")
        + "\n"
    )
    print(text)
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
