"""`rechunk-podman split`: both engines, all ways to name an image and to fail, as root and as a user."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from images import debian
from images.storage import oci_layout
from support import chunker, compare, holding, tools
from support.documents import check_document
from support.needs import require
from support.pushing import small_tar

TAG = "localhost/result:test"


@pytest.fixture(scope="session")
def chunker_image(storage: tools.Storage, repository: Path) -> str:
    """The chunker image, in `storage`: its name."""
    return chunker.provide(repository, storage)


@dataclass
class Traces:
    """The present traces of splits: containers, mounts, temporary files, services, images."""

    storage: tools.Storage
    temporary: Path
    containers: set[str] = field(default_factory=set)
    mounts: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.containers = set(self.storage.run("buildah", "containers", "--quiet", "--all").out.split())
        mountinfo = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
        inside = f"{os.path.realpath(self.storage.folder)}/"
        # The storage's own directory is made a mount of itself by the tools, and stays one.
        points = {line.split()[4] for line in mountinfo}
        self.mounts = {
            point for point in points if point.startswith(inside) and not point.endswith("/overlay")
        }
        self.files = {str(path) for path in self.temporary.rglob("*")}
        self.files |= {str(path) for path in runtime(self.temporary).glob("rechunk-podman*")}
        self.services = set(commands(f"unix://{runtime(self.temporary)}"))

    def assert_nothing_new(self) -> None:
        """Compares with how it is now."""
        now = Traces(self.storage, self.temporary)
        assert now.containers == self.containers
        assert now.mounts == self.mounts
        assert now.files == self.files
        assert now.services == self.services


def runtime(temporary: Path) -> Path:
    """The XDG_RUNTIME_DIR beside a TMPDIR: for private sockets, and for what podman keeps there."""
    folder = temporary.parent / "runtime"
    folder.mkdir(exist_ok=True)
    return folder


def commands(part: str) -> Iterator[str]:
    """The processes whose command line holds `part`."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and part in (entry / "cmdline").read_bytes().decode(errors="replace"):
                yield entry.name


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the TMPDIR of the split under test; its path is short enough for a socket."""
    folder = tmp_path_factory.mktemp("t") / "tmpdir"
    folder.mkdir()
    return folder


@pytest.fixture
def traces(storage: tools.Storage, temporary: Path) -> Iterator[Traces]:
    """Whatever happens in the test: nothing is left behind."""
    before = Traces(storage, temporary)
    yield before
    before.assert_nothing_new()


@pytest.fixture
def split(storage: tools.Storage, temporary: Path, traces: Traces) -> Callable[..., tools.Done]:
    """Runs `rechunk-podman split` with a TMPDIR of its own."""

    def run(*arguments: str, env: dict[str, str] | None = None, check: bool = True) -> tools.Done:
        merged = {**settings(storage, temporary), **(env or {})}
        return tools.run(*tools.RECHUNK, "split", *arguments, env=merged, check=check)

    return run


def settings(storage: tools.Storage, temporary: Path) -> dict[str, str]:
    """The environment of a split whose traces are looked for."""
    places = {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": str(runtime(temporary))}
    return {**os.environ, **storage.env, **places}


def says(done: tools.Done, code: int, what: str, hint: str) -> None:
    """Assert one line with the error, one with the hint, and no traceback."""
    lines = done.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    hints = [line for line in lines if line.startswith("hint: ")]
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert len(errors) == len(hints) == 1, done.err
    assert what in errors[0], done.err
    assert hint in hints[0], done.err
    assert done.out == ""


def test_engines_agree(
    storage: tools.Storage,
    image: str,
    chunker_image: str,
    split: Callable[..., tools.Done],
) -> None:
    """The same image, id for id, from both; the same files as in the source; hardly larger."""
    results: list[dict[str, Any]] = []
    for engine in ("native", "buildah"):
        done = (
            split(image, "--engine", engine, "--chunker", chunker_image, "-t", TAG, "--json")
            if (engine == "buildah")
            else split(image, "--engine", engine, "-t", TAG, "--json")
        )
        document = json.loads(done.out)
        assert document.pop("engine") == engine
        results.append(document)
        storage.rechunk("verify", f"containers-storage:{image}", f"containers-storage:{TAG}")
        with storage.mounted(image) as one, storage.mounted(TAG) as other:
            assert compare.differences(one, other) == []
        storage.run("podman", "rmi", TAG)
    assert results[0] == results[1]
    assert results[0]["image"] == TAG
    assert sum(layer["size"] for layer in results[0]["layers"]) == results[0]["size"]
    size = storage.inspect(image)["Size"]
    assert isinstance(size, int)
    if "oddities" not in image:
        assert results[0]["size"] <= size * 1.01
        assert len(results[0]["layers"]) > 30


def test_lines_that_call_chunkah_work(
    storage: tools.Storage, image: str, chunker_image: str, tmp_path: Path
) -> None:
    """Its command, its variables and its place of the files, in our image."""
    config = json.dumps([storage.inspect(image)])
    archive = tmp_path / "out.ociarchive"
    storage.container(
        *(f"--mount=type=image,src={image},target=/chunkah", "--entrypoint", "sh"),
        *("--volume", f"{tmp_path}:/run/out", "--env", f"CHUNKAH_CONFIG_STR={config}", chunker_image),
        *("-c", "chunkah build --max-layers 16 --compressed > /run/out/out.ociarchive"),
    )
    storage.rechunk("validate", f"oci-archive:{archive}")
    storage.rechunk("verify", f"containers-storage:{image}", f"oci-archive:{archive}")


def test_absent_volumes_stay_absent(
    storage: tools.Storage, oddities_image: str, chunker_image: str, split: Callable[..., tools.Done]
) -> None:
    """buildah 1.43 makes the directories of volumes in the root filesystem of a stage: no engine shows it."""
    container = storage.run("buildah", "from", "--pull-never", oddities_image).out.strip()
    storage.run("buildah", "config", "--volume", "/some/absent/volume", container)
    storage.run("buildah", "commit", "--quiet", container, "localhost/volume:latest")
    storage.run("buildah", "rm", container)
    found = set()
    for engine in ("native", "buildah"):
        found.add(json.loads(split("localhost/volume", "--engine", engine, "-t", TAG, "--json").out)["id"])
        with storage.mounted(TAG) as root:
            assert not (root / "some").exists()
    assert len(found) == 1


def test_the_result_runs_and_is_shown(
    storage: tools.Storage, debian_image: str, split: Callable[..., tools.Done]
) -> None:
    """The default name is the source's with -chunked; the table has a row for each layer and a total."""
    done = split(debian_image, "--engine", "native", "--max-layers", "5", "-v")
    name = f"{debian_image}-chunked"
    try:
        assert storage.container(name, "python3", "-c", "print(6 * 7)").out == "42\n"
        assert name in done.out
        for shown in ("layer", "size", "components", "dpkg/", "5 layers in all"):
            assert shown in done.out
        assert "scan: " in done.err
    finally:
        storage.run("podman", "rmi", name)


def test_auto_takes_the_chunker_image_where_there_is_one(
    storage: tools.Storage, oddities_image: str, chunker_image: str, split: Callable[..., tools.Done]
) -> None:
    done = split(oddities_image, "-t", TAG, "--json")
    assert check_document("split", done.out)["engine"] == "buildah"
    assert "note: engine buildah: the chunker image" in done.err
    storage.run("podman", "tag", chunker_image, "localhost/elsewhere:latest")
    storage.run("podman", "untag", chunker_image, chunker_image)
    try:
        assert "engine" not in split(oddities_image, "-t", TAG).err
        done = split(oddities_image, "-t", TAG, "--json", "-v")
        document = check_document("split", done.out)
        assert document["engine"] == "native"
        assert all(layer["components"] for layer in document["layers"])
        assert "engine native: there is no chunker image" in done.err
        named = split(oddities_image, "-t", TAG, "--chunker", "localhost/elsewhere", "--json")
        assert json.loads(named.out)["engine"] == "buildah"
    finally:
        storage.run("podman", "tag", "localhost/elsewhere:latest", chunker_image)
        storage.run("podman", "untag", "localhost/elsewhere:latest", "localhost/elsewhere:latest")


def test_auto_splits_in_place_where_buildah_runs_no_containers(
    oddities_image: str, chunker_image: str, split: Callable[..., tools.Done]
) -> None:
    broken = {"BUILDAH_ISOLATION": "oci", "BUILDAH_RUNTIME": "/bin/false"}
    done = split(oddities_image, "-t", TAG, "--json", env=broken)
    assert json.loads(done.out)["engine"] == "native"
    assert "buildah cannot run containers here" in done.err
    asked = split(oddities_image, "-t", TAG, "--engine", "buildah", env=broken, check=False)
    says(asked, 1, "cannot run containers", "--engine native")
    assert chunker_image


@pytest.mark.parametrize("engine", ["native", "buildah"])
def test_options_reach_the_chunker(
    storage: tools.Storage,
    oddities_image: str,
    chunker_image: str,
    split: Callable[..., tools.Done],
    engine: str,
    tmp_path: Path,
) -> None:
    """Values with spaces, quotes and dollars; annotations, old and new; files of one name."""
    for folder, text in (
        ("a", "/xattrs\tmine\n"),
        ("b", "groups: {own: {paths: [/xattrs, /names], isolated: true}}"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules").write_text(text)
    done = split(
        *("-v", "--map", tmp_path / "a/rules", "--groups", tmp_path / "b/rules"),
        *(oddities_image, "-t", TAG, "--engine", engine, "--max-layers", "4", "--prune", "/links/"),
        *("--label", 'one=it\'s "$HOME" `id` \\', "--annotation", "a b=c d", "--skip-special-files"),
        *(
            "--source-date-epoch",
            "86400",
            "--keep-mtime",
            "/xattrs",
            "--threads",
            "1",
            "--compression",
            "gzip",
        ),
    )
    assert "rules: 1 records, of which 0 name nothing here" in done.err
    document = storage.inspect(TAG)
    labels, annotations = document["Labels"], document["Annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    assert any(entry.get("comment", "").startswith("groups/own") for entry in document["History"])
    assert labels["one"] == 'it\'s "$HOME" `id` \\'
    assert annotations["a b"] == "c d"
    assert str(document["Created"]).startswith("1970-01-02T00:00:00")
    with storage.mounted(TAG) as root:
        assert list((root / "links").iterdir()) == []
        assert (root / "xattrs").is_dir()


def test_every_way_to_name_an_image(
    storage: tools.Storage, oddities_image: str, split: Callable[..., tools.Done]
) -> None:
    document = storage.inspect(oddities_image)
    image_id, digests = str(document["Id"]), document["RepoDigests"]
    assert isinstance(digests, list)
    for name, result in (
        ("oddities", "localhost/oddities:latest-chunked"),
        ("oddities:latest", "localhost/oddities:latest-chunked"),
        (image_id, "localhost/oddities:latest-chunked"),
        (image_id[:12], "localhost/oddities:latest-chunked"),
        (f"sha256:{image_id}", "localhost/oddities:latest-chunked"),
        (digests[0], "localhost/oddities:chunked"),
    ):
        done = split(name, "--engine", "native", "--max-layers", "3", "--json")
        assert json.loads(done.out)["image"] == result
        storage.run("podman", "rmi", result)


def test_an_id_with_two_names_needs_a_tag(
    storage: tools.Storage, oddities_image: str, split: Callable[..., tools.Done]
) -> None:
    image_id = str(storage.inspect(oddities_image)["Id"])
    storage.run("podman", "tag", oddities_image, "localhost/second:name")
    try:
        says(split(image_id, check=False), 2, "2 names", "-t NAME")
        split(image_id, "-t", TAG, "--engine", "native")
    finally:
        storage.run("podman", "untag", oddities_image, "localhost/second:name")


def test_an_image_in_use(
    storage: tools.Storage, oddities_image: str, split: Callable[..., tools.Done]
) -> None:
    """Mounted and used by a container: it is split all the same, and stays mounted."""
    container = storage.run("buildah", "from", "--pull-never", oddities_image).out.strip()
    try:
        with storage.mounted(oddities_image) as root:
            split(oddities_image, "-t", TAG, "--engine", "native")
            assert (root / "xattrs").is_dir()
    finally:
        storage.run("buildah", "rm", container)


def test_a_service_that_listens_is_used_and_left_alone(
    storage: tools.Storage, oddities_image: str, tmp_path: Path, split: Callable[..., tools.Done]
) -> None:
    path = tmp_path / "s.sock"
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{path}"], env={**os.environ, **storage.env}
    )
    try:
        for _ in range(300):
            if path.is_socket():
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.wait(0.1)
        env = {"CONTAINER_HOST": f"unix://{path}"}
        done = split(oddities_image, "-t", TAG, "--engine", "native", "-vv", env=env)
        assert f"using the podman service at {path}" in done.err
        assert "started a podman service" not in done.err
        assert service.poll() is None
    finally:
        service.terminate()
        service.wait(30)


@pytest.mark.parametrize(
    ("host", "what"),
    [("ssh://somebody@example.org/run/x.sock", "elsewhere"), ("unix:///nowhere.sock", "no podman service")],
)
def test_a_service_that_cannot_serve(
    oddities_image: str, split: Callable[..., tools.Done], host: str, what: str
) -> None:
    done = split(oddities_image, check=False, env={"CONTAINER_HOST": host})
    says(done, 1, what, "unset CONTAINER_HOST")
    assert "somebody" not in done.err


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("nothing-like-this", "no image nothing-like-this", "podman pull nothing-like-this"),
        ("example.org/x/y:z", "no image example.org/x/y:z", "podman pull example.org/x/y:z"),
        ("Debian", "not an image name", "lower case: debian"),
        ("a b", "not an image name", "name[:tag]"),
        ("0123456789ab", "no image 0123456789ab", "podman pull"),
    ],
)
def test_wrong_names(split: Callable[..., tools.Done], name: str, what: str, hint: str) -> None:
    says(split(name, check=False), 2, what, hint)


def test_onbuild_instructions_are_kept_and_not_run(
    storage: tools.Storage, split: Callable[..., tools.Done], chunker_image: str, tmp_path: Path
) -> None:
    archive = small_tar(tmp_path / "small.tar", 7)
    config = {"Cmd": ["/bin/sh"], "OnBuild": ["RUN /bin/false"]}
    layout = oci_layout([archive], tmp_path / "layout", config=config)
    storage.copy(f"oci:{layout}", "containers-storage:localhost/onbuild:1")
    done = split(
        "localhost/onbuild:1", "-t", TAG, "--engine", "buildah", "--chunker", chunker_image, check=False
    )
    says(done, 2, "ONBUILD", "--engine native")
    assert json.loads(split("localhost/onbuild:1", "-t", TAG, "--json").out)["engine"] == "native"
    shown = json.loads(storage.run("skopeo", "inspect", "--config", "--raw", f"containers-storage:{TAG}").out)
    assert shown["config"]["OnBuild"] == ["RUN /bin/false"]


def test_an_image_without_layers(
    storage: tools.Storage, split: Callable[..., tools.Done], tmp_path: Path
) -> None:
    layout = oci_layout([], tmp_path / "none")
    storage.copy(f"oci:{layout}", "containers-storage:localhost/none:1")
    done = split("localhost/none:1", "--engine", "native", check=False)
    says(done, 1, "has no layers", "build or pull it anew")


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (("-t", "Upper"), "not an image name", "lower case"),
        (("-t", "x@sha256:" + "0" * 64), "digest", "-t NAME"),
        (("--max-layers", "0"), "layers", "number"),
        (("--compression", "best"), "compression", "zstd"),
        (("--engine", "native", "--chunker", "x"), "no chunker image", "--engine buildah"),
        (("--engine", "buildah", "--chunker", "localhost/no"), "no chunker image", "frontend/Containerfile"),
        (("--config", "/nowhere.json", "--engine", "native"), "config", "FILE"),
        (("--label", "nonsense", "--engine", "native"), "label", "KEY=VALUE"),
    ],
)
def test_wrong_options(
    oddities_image: str, split: Callable[..., tools.Done], arguments: tuple[str, ...], what: str, hint: str
) -> None:
    says(split(oddities_image, *arguments, check=False), 2, what, hint)


@pytest.mark.parametrize(
    ("tool", "engine"),
    [("podman", "native"), ("podman", "buildah"), ("skopeo", "native"), ("buildah", "buildah")],
)
def test_a_missing_tool(
    oddities_image: str,
    chunker_image: str,
    split: Callable[..., tools.Done],
    tmp_path: Path,
    tool: str,
    engine: str,
) -> None:
    env = {"PATH": tools.path_without(tool, tmp_path / "bin")}
    done = split(oddities_image, "--engine", engine, check=False, env=env)
    says(done, 1, f"{tool} is not installed", f"apt-get install {tool}, or dnf install {tool}")


def test_without_buildah_auto_is_native(
    oddities_image: str, chunker_image: str, split: Callable[..., tools.Done], tmp_path: Path
) -> None:
    env = {"PATH": tools.path_without("buildah", tmp_path / "bin")}
    assert json.loads(split(oddities_image, "-t", TAG, "--json", env=env).out)["engine"] == "native"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    tools.run("mount", "-t", "tmpfs", "-o", "size=4m", "none", folder)
    try:
        yield folder
    finally:
        tools.run("umount", folder)


@pytest.mark.parametrize("engine", ["native", "buildah"])
@pytest.mark.parametrize("how", ["TMPDIR", "--workdir"])
def test_no_space(
    storage: tools.Storage,
    debian_image: str,
    chunker_image: str,
    split: Callable[..., tools.Done],
    small: Path,
    engine: str,
    how: str,
) -> None:
    before = storage.run("podman", "images", "--all", "--quiet", "--no-trunc").out
    options = ("--workdir", str(small)) if how == "--workdir" else ()
    env = {"TMPDIR": str(small)} if how == "TMPDIR" else {}
    done = split(debian_image, "-t", TAG, "--engine", engine, *options, check=False, env=env)
    says(done, 1, "pace", "--workdir DIR")
    assert list(small.iterdir()) == []
    assert storage.run("podman", "images", "--all", "--quiet", "--no-trunc").out == before


@pytest.mark.parametrize("where", ["nowhere", "file"])
def test_no_work_directory(
    oddities_image: str, split: Callable[..., tools.Done], tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").touch()
    done = split(oddities_image, "--engine", "native", "--workdir", str(tmp_path / where), check=False)
    says(done, 1, "cannot write", "--workdir DIR")


def test_a_denied_mount(storage: tools.Storage, oddities_image: str, temporary: Path, traces: Traces) -> None:
    """Root of a container without the capability to mount."""
    require("setpriv")
    done = tools.run(
        *("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
        *(*tools.RECHUNK, "split", oddities_image, "--engine", "native", "-t", TAG),
        env=settings(storage, temporary),
        check=False,
    )
    says(done, 1, "may not mount", "CAP_SYS_ADMIN")


@pytest.mark.parametrize("engine", ["native", "buildah"])
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption(
    storage: tools.Storage,
    oddities_image: str,
    chunker_image: str,
    temporary: Path,
    traces: Traces,
    tmp_path: Path,
    engine: str,
    way: signal.Signals,
) -> None:
    """The chunker is interrupted at work. A terminal signals the whole group, kill one process."""
    at = holding.BEFORE_LAYOUT if engine == "native" else holding.BEFORE_ARCHIVE
    words = [*tools.RECHUNK, "split", oddities_image, "-t", "localhost/interrupted", "--engine", engine]
    with holding.held(tmp_path / "hold", at) as hold:
        if engine == "buildah":
            words += ["--chunker", held_chunker(storage, chunker_image, hold)]
        process = subprocess.Popen(
            words,
            env=hold.env(settings(storage, temporary)),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        with hold.wait():
            if way is signal.SIGINT:
                os.killpg(process.pid, way)
            else:
                process.send_signal(way)
            said = process.stderr.read()
        process.stderr.close()
    assert process.wait(60) == 130, said
    assert list(commands(str(temporary))) == []
    assert storage.run("podman", "image", "exists", "localhost/interrupted", check=False).code == 1
    storage.run("podman", "rmi", "--ignore", "localhost/held:1")


def held_chunker(storage: tools.Storage, chunker_image: str, hold: holding.Hold) -> str:
    """Make a chunker image that waits for the test: its name."""
    container = storage.run("buildah", "from", "--pull-never", chunker_image).out.strip()
    storage.run("buildah", "copy", "--quiet", container, str(hold.folder), "/opt/hold")
    storage.run("buildah", "config", "--env", "PYTHONPATH=/opt/hold", container)
    storage.run("buildah", "commit", "--quiet", "--rm", container, "localhost/held:1")
    return "localhost/held:1"


@pytest.mark.parametrize(
    ("script", "what", "hint"),
    [
        ("echo 'error: no such option: --job' >&2; exit 2", "knows no jobs", "build it anew"),
        (
            'echo \'{"level": 10, "message": "x"}\' > /run/src/log.jsonl; kill -9 $$',
            "without a result",
            "memory",
        ),
        ("exit 3", "failed with status 3", "--engine native"),
    ],
)
def test_a_chunker_image_without_a_result(
    storage: tools.Storage,
    debian_image: str,
    oddities_image: str,
    split: Callable[..., tools.Done],
    tmp_path: Path,
    script: str,
    what: str,
    hint: str,
) -> None:
    """An older one, or one that the kernel ended: the error says so."""
    (tmp_path / "rechunk-podman").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "rechunk-podman").chmod(0o755)
    container = storage.run("buildah", "from", "--pull-never", debian_image).out.strip()
    storage.run("buildah", "copy", "--quiet", container, str(tmp_path / "rechunk-podman"), "/usr/bin/")
    storage.run("buildah", "commit", "--quiet", "--rm", container, "localhost/stand-in:1")
    try:
        done = split(oddities_image, "-t", TAG, "--chunker", "localhost/stand-in:1", check=False)
    finally:
        storage.run("podman", "rmi", "localhost/stand-in:1")
    says(done, 1, what, hint)


def test_a_killed_child(
    storage: tools.Storage, oddities_image: str, temporary: Path, traces: Traces, tmp_path: Path
) -> None:
    """The engine native says what became of its chunker, and leaves nothing behind."""
    with holding.held(tmp_path / "hold") as hold:
        process = subprocess.Popen(
            [*tools.RECHUNK, "split", oddities_image, "-t", TAG, "--engine", "native"],
            env=hold.env(settings(storage, temporary)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with hold.wait():
            for child in commands("build\0--job\0"):
                if f"PPid:\t{process.pid}\n" in Path(f"/proc/{child}/status").read_text():
                    os.kill(int(child), signal.SIGKILL)
            out, err = process.communicate(timeout=60)
    says(tools.Done(process.returncode, out, err), 1, "the chunker was killed", "memory")


def test_a_plan_without_an_image(
    storage: tools.Storage, oddities_image: str, split: Callable[..., tools.Done]
) -> None:
    """`build --plan-only` prints the same; a layer that the result's Ledger predicts has its diff_id."""
    name = "localhost/planned:test"
    options = (oddities_image, "-t", name, "--engine", "native", "--max-layers", "4", "--json")
    first = json.loads(split(*options, "--plan-only").out)
    assert len(first["layers"]) == 4
    assert not any("diff_id" in layer for layer in first["layers"])
    assert storage.run("podman", "image", "exists", name, check=False).code == 1
    made = json.loads(split(*options).out)
    try:
        again = json.loads(split(*options, "--plan-only").out)
        assert [layer["diff_id"] for layer in again["layers"]] == [
            layer["diff_id"] for layer in made["layers"]
        ]
        assert "--plan-only" in split(*options[:3], "--engine", "buildah", "--plan-only", check=False).err
    finally:
        storage.run("podman", "rmi", name)


def test_a_terminal_sees_progress(storage: tools.Storage, oddities_image: str, traces: Traces) -> None:
    """A bar on a terminal shows every phase, however short; the result goes to standard output alone.

    The second image reuses layers of the first, which are hashed and not written.
    """
    require("script")
    name = "localhost/progress:test"
    command = (
        f"{sys.executable} -m rechunk_podman split {oddities_image} -t {name} --engine native --json 2>&1"
    )
    try:
        for writing in ("writing layers", "hashing"):
            done = tools.run(
                "script", "--quiet", "--return", "--command", command, "/dev/null", env=storage.env
            )
            phases = ("mounting", "scanning", "reading", "planning", writing, "importing into storage")
            seen = [done.out.index(phase) for phase in phases]
            assert seen == sorted(seen)
            document = done.out[done.out.index("{") : done.out.rindex("}") + 1]
            assert json.loads(document)["image"] == name
    finally:
        storage.run("podman", "rmi", name, check=False)


# As an ordinary user

FEW = ("--max-layers", "5")
"""vfs keeps a whole copy for each layer."""


@pytest.fixture(scope="session")
def users_image(ordinary_user: tools.OrdinaryUser, debian_image: str) -> str:
    """Debian in the user's own storage."""
    root = shutil.copy(debian.tar("release"), ordinary_user.home / "debian.tar")
    layout = oci_layout([Path(root)], ordinary_user.home / "debian")
    tools.run("chown", "--recursive", ordinary_user.name, layout, root)
    target = f"containers-storage:{debian_image}"
    ordinary_user.run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}", target)
    return debian_image


def test_as_a_user(ordinary_user: tools.OrdinaryUser, users_image: str, tmp_path: Path) -> None:
    """It runs itself as root of the user's namespace, and says what such a storage has lost."""
    done = ordinary_user.rechunk("split", users_image, *FEW, "--json")
    document = json.loads(done.out)
    assert document["engine"] == "native"
    assert document["image"] == f"{users_image}-chunked"
    assert "no device nodes" in done.err
    assert "vfs storage keeps a whole copy" in done.err
    ordinary_user.rechunk("verify", users_image, document["image"])
    script = (
        "import sys; from pathlib import Path\n"
        "from support import compare\n"
        "print(compare.differences(Path(sys.argv[1]), Path(sys.argv[2])))\n"
    )
    mounts = 'exec "$0" -c "$1" $(podman image mount "$2") $(podman image mount "$3")'
    shutil.copytree(
        Path(compare.__file__).parent, ordinary_user.home / "packages/support", dirs_exist_ok=True
    )
    found = ordinary_user.unshared(
        "sh", "-c", mounts, ordinary_user.python, script, users_image, document["image"]
    )
    assert found.out == "[]\n"
    again = ordinary_user.rechunk("split", users_image, *FEW, "--json", "--engine", "native", "-t", TAG)
    assert json.loads(again.out)["id"] == document["id"]


def test_as_a_user_in_the_chunker_image(
    ordinary_user: tools.OrdinaryUser, users_image: str, storage: tools.Storage, repository: Path
) -> None:
    """The other engine, in the user's storage: the same image."""
    archive = ordinary_user.home / "chunker.archive"
    shutil.copy(chunker.archive(repository, storage), archive)
    shutil.chown(archive, ordinary_user.name)
    target = f"containers-storage:{chunker.NAME}"
    ordinary_user.run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci-archive:{archive}", target)
    found = {}
    for engine in ("native", "buildah"):
        done = ordinary_user.rechunk("split", users_image, *FEW, "--json", "--engine", engine, "-t", TAG)
        found[engine] = json.loads(done.out)["id"]
    assert found["native"] == found["buildah"]
    assert ordinary_user.run("buildah", "containers", "--quiet", "--all").out == ""


def test_a_user_without_subordinate_ids(ordinary_user: tools.OrdinaryUser, users_image: str) -> None:
    """The kernel gives them no ids to map: one line what, one line what to do."""
    file = Path("/etc/subuid")
    before = file.read_text()
    others = [line for line in before.splitlines() if not line.startswith(f"{ordinary_user.name}:")]
    file.write_text("".join(f"{line}\n" for line in others))
    try:
        done = ordinary_user.rechunk("split", users_image, "--engine", "native", check=False)
    finally:
        file.write_text(before)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "error: " in done.err
    assert "hint: " in done.err
