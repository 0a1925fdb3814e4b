"""SIGKILL and SIGTERM at random moments: after the next run nothing is left of build, split and push.

A series is bounded by time; RECHUNK_TEST_KILLS=200 asks for so many kills of each instead.
RECHUNK_TEST_SEED repeats the moments of a series, whose seed is printed.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rechunk_podman.oci.validate.image import validate
from support import chunker, holding, tools
from support.documents import check_document

KILLS = int(os.environ.get("RECHUNK_TEST_KILLS", "0"))
SECONDS = 20.0
"""Of a series, without the run before it and the one after it."""

SEED = int(os.environ.get("RECHUNK_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

WAYS = ("process", "process", "group", "SIGTERM")
"""SIGKILL to the process alone, to its whole session, or a signal that it can handle."""


@dataclass
class Place:
    """A storage with the temporary directories of the runs that are killed, and what is in them all."""

    storage: tools.Storage
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tmp", "run"):
            (self.folder / name).mkdir(parents=True)
        places = {"TMPDIR": str(self.folder / "tmp"), "XDG_RUNTIME_DIR": str(self.folder / "run")}
        self.env = {**os.environ, **self.storage.env, **places}

    def processes(self) -> dict[int, str]:
        """The processes with our TMPDIR in their environment, and their command lines."""
        mark = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return {number: line for number, line in found.items() if line}

    def wait_for_processes(self) -> None:
        """Wait until the children of a killed run have ended by themselves."""
        deadline = time.monotonic() + 60
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {left}"
            for number in left:
                try:
                    watch = os.pidfd_open(number)
                except ProcessLookupError:
                    continue
                select.select([watch], [], [], 5)
                os.close(watch)

    def traces(self) -> dict[str, set[str]]:
        """Mounts, files, working containers and untagged images."""
        inside = f"{os.path.realpath(self.storage.folder)}/"
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        podman = ("podman", "images", "--quiet", "--no-trunc", "--all", "--filter=dangling=true")
        return {
            "mounts": {path for path in points if path.startswith(inside) and not path.endswith("/overlay")},
            "files": {str(path) for path in self.folder.rglob("rechunk-podman*")}
            | {str(path) for path in self.folder.rglob("*.partial")},
            "containers": set(self.storage.run("buildah", "containers", "--quiet", "--all").out.split()),
            "untagged images": set(self.storage.run(*podman).out.split()),
        }


@pytest.fixture
def place(storage: tools.Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The storage of the session, with directories whose names are short enough for sockets."""
    folder = tmp_path_factory.mktemp("k")
    yield Place(storage, folder)
    shutil.rmtree(folder)


def series(place: Place, command: Callable[[int], list[str]], name: str, places: int = 1) -> None:
    """Start runs and end them at random moments; then a run to its end, after which nothing is left.

    Args:
        command: the arguments of a run, by its number.
        places: how many outputs there are in turn: each gets a last run.
    """
    dice = random.Random(f"{SEED}-{name}")
    print(f"\n{name}: RECHUNK_TEST_SEED={SEED}")
    before = place.traces()
    begun = time.monotonic()
    tools.run(*tools.RECHUNK, *command(0), env=place.env)
    whole = time.monotonic() - begun
    assert place.traces() == before
    counts: Counter[str] = Counter()
    number, end = 0, time.monotonic() + SECONDS
    while sum(counts.values()) < KILLS if KILLS else time.monotonic() < end:
        number += 1
        way = dice.choice(WAYS)
        earlier = place.traces() if way == "SIGTERM" else {}
        with subprocess.Popen(
            [*tools.RECHUNK, *command(number)],
            env=place.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                process.wait(dice.uniform(0, whole))
            except subprocess.TimeoutExpired:
                counts[way] += 1
                if way == "group":
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL)
        place.wait_for_processes()
        if earlier:
            now = place.traces()
            assert not {kind: now[kind] - earlier[kind] for kind in now if now[kind] - earlier[kind]}
    now = place.traces()
    counts.update({f"left before the last run: {kind}": len(now[kind] - before[kind]) for kind in now})
    for last in range(number + 1, number + 1 + places):
        tools.run(*tools.RECHUNK, *command(last), env=place.env)
    assert place.traces() == before, counts
    print(f"{name}: {whole:.1f} s a run; {dict(counts)}")


def test_killed_builds(place: Place, small: Callable[[int], str]) -> None:
    """Into new layouts, layouts in a directory that is there, and compressed archives."""
    folder = place.folder / "out"
    folder.mkdir()
    outputs = ("oci:{}/layout", "oci:{}/there", "{}/archive.oci")

    with place.storage.mounted(small(1)) as root:

        def command(number: int) -> list[str]:
            output = outputs[number % 3].format(folder)
            target = Path(output.removeprefix("oci:"))
            if number % 3 == 0:
                shutil.rmtree(target, ignore_errors=True)
            elif number % 3 == 1:
                target.mkdir(exist_ok=True)
                if (target / "index.json").exists():
                    shutil.rmtree(target)
                    target.mkdir()
            elif target.exists():
                validate(target).check()
            return ["build", "--rootfs", str(root), "-o", output, "--compression=gzip", "-T1"]

        series(place, command, "build", places=len(outputs))
    assert sorted(os.listdir(folder)) == ["archive.oci", "layout", "there"]
    for path in folder.iterdir():
        validate(path).check()


@pytest.mark.parametrize("engine", ["native", "buildah"])
def test_killed_splits(place: Place, small: Callable[[int], str], repository: Path, engine: str) -> None:
    """Each makes another image, so that what is left of one is not the next one's."""
    if engine == "buildah":
        chunker.provide(repository, place.storage)

    def command(number: int) -> list[str]:
        name = f"localhost/killed-{engine}:{number}"
        return ["split", small(1), "-t", name, f"--label=number={number}", "--engine", engine]

    series(place, command, f"split --engine {engine}")
    names = place.storage.run("podman", "images", "--format={{.Repository}}:{{.Tag}}").out.split()
    mine = [name for name in names if name.startswith(f"localhost/killed-{engine}:")]
    for name in mine[:3]:
        place.storage.rechunk("verify", f"containers-storage:{small(1)}", f"containers-storage:{name}")
    place.storage.run("podman", "rmi", *mine)


def test_killed_pushes(place: Place, small: Callable[[int], str], registry: tools.Registry) -> None:
    """Each to a repository of its own, so that every layer is uploaded."""

    def command(number: int) -> list[str]:
        target = f"docker://{registry.address}/killed/r{number}:1"
        return ["split", small(1), "--tls-verify=false", f"--push={target}", "--compression=gzip"]

    series(place, command, "push")


def test_clean_says_what_it_removes(place: Place, small: Callable[[int], str], tmp_path: Path) -> None:
    """A split that is killed while its image is mounted."""
    before = place.traces()
    command = [*tools.RECHUNK, "split", small(1), "-t", "localhost/cleaned", "--engine=native"]
    with (
        holding.held(tmp_path / "hold") as hold,
        subprocess.Popen(command, env=hold.env(place.env)) as process,
        hold.wait(),
    ):
        process.kill()
    place.wait_for_processes()
    left = place.traces()
    assert left["mounts"] > before["mounts"]
    assert left["files"] > before["files"]
    living = place.folder / "tmp/rechunk-podman.tmp-bbbbbbbb"
    living.mkdir()
    fd = os.open(living, os.O_RDONLY)
    try:
        subprocess.run(["flock", "--nonblock", str(fd)], pass_fds=(fd,), check=True)
        done = tools.run(*tools.RECHUNK, "clean", env=place.env)
    finally:
        os.close(fd)
    assert "removed the mount of image " in done.out
    assert f"removed the directory {place.folder / 'tmp/rechunk-podman.'}" in done.out
    assert living.is_dir()
    living.rmdir()
    assert place.traces() == before
    assert tools.run(*tools.RECHUNK, "clean", env=place.env).out == "nothing is left of killed runs\n"
    work = place.folder / "tmp/rechunk-podman.tmp-aaaaaaaa"
    work.mkdir(mode=0o700)
    told = check_document("clean", tools.run(*tools.RECHUNK, "clean", "--json", env=place.env).out)
    assert told["removed"] == [f"the directory {work}"]


def test_a_mount_of_an_earlier_start_of_the_machine_is_not_undone(
    place: Place, small: Callable[[int], str]
) -> None:
    """A restart ends all mounts: the one that is there now, somebody else made."""
    storage, name = place.storage, small(1)
    image = storage.run("podman", "image", "inspect", "--format={{.Id}}", name).out.strip()
    work = place.folder / "tmp/rechunk-podman.tmp-cccccccc"
    with storage.mounted(name) as root:
        for boot, stays in (("an earlier one", True), (None, False)):
            work.mkdir(mode=0o700)
            record = {"image": image, "env": dict(storage.env), **({"boot": boot} if boot else {})}
            (work / "changes.json").write_text(json.dumps(record))
            (work / "mounted").touch()
            done = tools.run(*tools.RECHUNK, "clean", env=place.env)
            assert not work.exists()
            assert (root / "opt").exists() is stays
            assert ("removed the mount" in done.out) is not stays
        storage.run("podman", "image", "mount", name)  # the fixture unmounts it


def test_untagged_images_of_a_killed_split_go_and_others_stay(
    place: Place, small: Callable[[int], str]
) -> None:
    """A split that was killed before its image got a name; two untagged images that others made."""
    storage = place.storage
    made = []
    for number in range(3):
        name = f"localhost/untagged:{number}"
        storage.rechunk("split", small(1), "-t", name, f"--label=n={number}", "--engine=native")
        made.append(storage.run("podman", "image", "inspect", "--format={{.Id}}", name).out.strip())
        storage.run("podman", "untag", name)
    own, other, earlier = made
    config = storage.run("skopeo", "inspect", "--config", "--raw", f"containers-storage:@{own}").out
    starts = (small(1), small(1), own)  # the last stage of a build begins with the result
    container, *cut = (storage.run("buildah", "from", "--pull-never", name).out.strip() for name in starts)
    listed = json.loads(storage.run("buildah", "containers", "--json").out)
    ids = {item["containername"]: item["id"] for item in listed}
    # as buildah leaves it if it is killed before it has written down what it makes
    store = json.loads(storage.run("buildah", "info").out)["store"]["GraphRoot"]
    for name in cut:
        Path(store, "overlay-containers", ids[name], "userdata/buildah.json").unlink()
    work = place.folder / "tmp/rechunk-podman.tmp-aaaaaaaa"
    work.mkdir(mode=0o700)
    record = {"split": True, "untagged": [earlier], "bases": [small(1)], "env": dict(storage.env)}
    (work / "changes.json").write_text(json.dumps(record))
    (work / "result.json").write_text(json.dumps({"format": 1, "config": config}))
    try:
        done = tools.run(*tools.RECHUNK, "clean", env=place.env)
        assert sorted(done.out.splitlines()[:2]) == sorted(
            f"removed the working container {ids[name][:12]}" for name in cut
        )
        assert done.out.splitlines()[2:] == [
            f"removed the untagged image {own[:12]}",
            f"removed the directory {work}",
        ]
        exists = [storage.run("podman", "image", "exists", name, check=False).code == 0 for name in made]
        assert exists == [False, True, True]
        assert container in storage.run("buildah", "containers", "--format={{.ContainerName}}").out.split()
    finally:
        storage.run("buildah", "rm", container)
        storage.run("podman", "rmi", other, earlier)
