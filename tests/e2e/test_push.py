"""`split --push` into a real registry: what is uploaded, what arrives, what happens when something breaks."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import tools
from support.documents import check_document
from support.front import STALL, front_of
from support.oci_material import Layout
from support.pushing import PARTS, Uploads, digest_of, document, push, same_files


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry of this module: it counts blobs, and other modules push the same."""
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def test_first_push_update_and_nothing_new(
    storage: tools.Storage,
    registry: tools.Registry,
    debian_image: str,
    debian_updated_image: str,
    tmp_path: Path,
) -> None:
    """An update uploads its changed layers and the config; the same image again nothing at all."""
    repository = f"{registry.address}/push/debian"
    state, file = tmp_path / "state.json", tmp_path / "digest"
    options = ["--state", state, "--digestfile", file, "--annotation", "org.example.channel=stable"]
    tags = [f"--push=docker://{repository}:{tag}" for tag in ("stable", "12")]

    watch = Uploads(registry)
    done = push(storage, debian_image, *tags, *options, "--sign-by-digest-hint")
    first = done.out.strip()
    assert file.read_text() == first == digest_of(f"{repository}:stable") == digest_of(f"{repository}:12")
    assert f"cosign sign {repository}@{first}" in done.err
    manifest = json.loads(document(f"{repository}:12"))
    assert manifest["annotations"]["org.example.channel"] == "stable"
    assert len(watch.new) == len(manifest["layers"]) + 2
    for layer in manifest["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
        assert layer["annotations"]["org.rechunk.component"]

    watch = Uploads(registry)
    assert push(storage, debian_image, *tags, *options).out.strip() == first
    assert watch.new == set()
    assert watch.requests("(PATCH|POST|PUT) /v2/push/debian/blobs/") == 0
    assert watch.requests("GET /v2/push/debian/blobs/") <= 4  # configs: by its state file the image is known

    watch = Uploads(registry)
    done = push(storage, debian_updated_image, *tags, *options, "--json")
    told = check_document("push", done.out)
    assert f"previous image: docker://{repository}@{first}" in done.err
    assert told["digest"] == file.read_text() == digest_of(f"{repository}:stable") != first
    manifest = json.loads(document(f"{repository}:12"))
    fresh = {layer["digest"] for layer in told["layers"] if not layer["reused"]}
    assert 0 < len(fresh) < len(told["layers"]) / 2
    assert watch.new == {*fresh, manifest["config"]["digest"], told["digest"]}
    assert watch.requests("PUT /v2/push/debian/blobs/uploads/") == len(fresh) + 1
    assert told["new"] == sum(layer["size"] for layer in told["layers"] if not layer["reused"])
    assert all(layer["annotations"]["org.rechunk.component"] for layer in manifest["layers"])
    same_files(storage, debian_updated_image, f"{repository}:stable", tmp_path)


def test_other_repositories_get_complete_copies(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """Another registry gets a complete copy, too; blobs of one repository are not named in another."""
    one, two = f"{registry.address}/copies/one", f"{registry.address}/copies/two"
    with tools.loopback_registry(tmp_path / "other") as other:
        away = f"{other.address}/elsewhere"
        done = push(storage, small(0), *(f"--push=docker://{name}:1" for name in (one, two, away)))
        digest = done.out.strip()
        assert digest == digest_of(f"{two}:1") == digest_of(f"{away}:1")
        watch = Uploads(other)
        done = push(storage, small(1), f"--push=docker://{away}:2", f"--previous=docker://{one}:1", "--json")
        assert "are not reused: it is in another registry" in done.err
        layers = json.loads(done.out)["layers"]
        assert not any(layer["reused"] for layer in layers)
        assert len(watch.new) == 3  # planned by the other's record: the same layers but one
        same_files(storage, small(1), f"{away}:2", tmp_path)


def test_layers_of_another_repository_are_mounted(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The first push to a new repository, further ones and an index upload no such layer.

    The address is one that skopeo's cache has not met: a front, whose port is new.
    """
    push(storage, small(0), f"--push=docker://{registry.address}/mounts/old:1")
    with front_of(registry.address) as front:
        old, new, more = (f"{front.address}/mounts/{name}" for name in ("old", "new", "more"))
        layers = len(json.loads(document(f"{old}:1"))["layers"])
        watch = Uploads(registry)
        options = (f"--previous=docker://{old}:1", f"--push=docker://{new}:1", f"--push=docker://{more}:1")
        done = push(storage, small(1), *options)
        assert len(watch.new) == 3  # a layer, the config, the manifest
        mounted = [path for _, path in front.asked if "mount=sha256" in path]
        assert sum(path.startswith("/v2/mounts/new/") for path in mounted) == layers - 1
        assert sum(path.startswith("/v2/mounts/more/") for path in mounted) == layers
        assert f"1 of {layers} layers uploaded, {layers - 1} mounted from {old}@sha256:" in done.err
        assert re.search(rf"docker://{more}:1: \d+\.\d kB of 8.4 MB copied, the rest was mounted", done.err)
        same_files(storage, small(1), f"{new}:1", tmp_path)
    with front_of(registry.address) as front:
        words = [f"docker://{front.address}/mounts/old:1", f"--push=docker://{front.address}/mounts/list:1"]
        storage.rechunk("index", *words, "--tls-verify=false")
        assert sum("mount=sha256" in path for _, path in front.asked) == layers


def test_a_registry_that_mounts_nothing(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """All layers are uploaded, and a warning says so."""
    push(storage, small(0), f"--push=docker://{registry.address}/nomounts/old:1")
    with front_of(registry.address) as front:
        front.no_mounts = True
        old, new = (f"{front.address}/nomounts/{name}" for name in ("old", "new"))
        done = push(storage, small(1), f"--previous=docker://{old}:1", f"--push=docker://{new}:1")
        assert f"the registry did not mount layers of docker://{old}@sha256:" in done.err
        assert re.search(r"8\.\d of 8\.\d MB in (\d+) of \1 layers uploaded$", done.err, re.MULTILINE)
        same_files(storage, small(1), f"{new}:1", tmp_path)


def test_a_new_tag_of_a_known_repository(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """A note names the newest other tag, and --previous auto continues it; what is no image is left out."""
    repository = f"{registry.address}/push/dated"
    push(storage, small(0), f"--push=docker://{repository}:20261107")
    done = push(storage, small(1), f"--push=docker://{repository}:20261114")
    assert "--previous auto continues those of the newest other tag there" in done.err
    assert f"docker://{repository}:20261107\n" in done.err
    sbom = Layout(tmp_path / "sbom").layer(b"{}", media_type="application/spdx+json")
    sbom.manifest["artifactType"] = "application/spdx+json"
    sbom.finish()
    storage.run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
        *(f"oci:{sbom.path}", f"docker://{repository}:20261120"),
    )
    new = f"--push=docker://{repository}:20261121"
    done = push(storage, small(2), new, "--previous=auto", "--json")
    assert f"{repository}:20261120 is left out" in done.err
    assert f"previous image: docker://{repository}@{digest_of(f'{repository}:20261114')}" in done.err
    assert [layer["reused"] for layer in json.loads(done.out)["layers"]].count(False) == 1
    done = push(storage, small(2), f"--push=docker://{repository}:20261120")
    assert "warning: no previous image: " in done.err
    assert "an artifact, and no image" in done.err
    done = push(storage, small(2), f"--push=docker://{registry.address}/push/none:1", "--previous=auto")
    assert "note: --previous" not in done.err
    # a workflow that names its own tag as the previous image has to build a first one
    none = f"docker://{registry.address}/push/none:2"
    done = push(storage, small(2), f"--push={none}", f"--previous={none}")
    assert f"warning: no previous image: no image {none} in its registry" in done.err
    assert done.out.strip() == digest_of(none.removeprefix("docker://"))
    done = storage.rechunk("split", small(2), "--previous=auto", check=False)
    assert done.code == 2
    assert "--previous auto goes with split --push" in done.err


def test_layers_that_stay_fewer_than_asked_for(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str]
) -> None:
    target = f"--push=docker://{registry.address}/push/few:1"
    push(storage, small(0), target, "--max-layers=3")
    done = push(storage, small(0), target, "--max-layers=6", "--json")
    assert len(json.loads(done.out)["layers"]) == 3
    assert "nothing changed: the 3 layers of the previous image stay, and become up to 6" in done.err
    assert "nothing changed" not in push(storage, small(0), target, "--max-layers=3").err


def test_each_blob_is_verified_once_a_machine(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """Said with its bytes before it starts; what this machine wrote or has verified is not fetched again."""
    name = "seen/once"
    target = f"--push=docker://{registry.address}/{name}:1"
    blobs = rf"GET /v2/{name}/blobs/"

    def run(seed: int, home: str, *options: str) -> tuple[str, int]:
        watch = Uploads(registry)
        env = {**storage.env, "XDG_CACHE_HOME": str(tmp_path / home)}
        words = (*tools.RECHUNK, "split", small(seed), "--tls-verify=false", target, *options)
        return tools.run(*words, env=env).err, watch.requests(blobs)

    run(0, "one")
    said, fetched = run(1, "one")
    assert "verified" not in said
    assert fetched <= 4
    said, fetched = run(2, "two")
    layers = len(json.loads(document(f"{registry.address}/{name}:1"))["layers"])
    match = re.search(
        r"note: (\d+) layers of \S+ are verified before they are reused: (\S+) MB are fetched", said
    )
    assert match
    assert int(match[1]) == layers - 1
    assert float(match[2]) > layers - 3
    assert fetched >= layers - 1
    said, fetched = run(3, "two")
    assert "verified" not in said
    assert fetched <= 4
    said, fetched = run(3, "two", "--verify-previous")
    assert f"{layers} layers of" in said
    (tmp_path / "two/rechunk-podman/verified-blobs").write_bytes(b"\0nonsense\n")
    said, fetched = run(3, "two")
    assert f"{layers} layers of" in said


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[tools.Registry]:
    """A registry that nothing was pushed to."""
    with tools.loopback_registry(tmp_path / "registry") as registry:
        yield registry


def test_what_was_uploaded(
    storage: tools.Storage, small: Callable[[int], str], tmp_path: Path, own_registry: tools.Registry
) -> None:
    """In a registry without the layers of other tests, which skopeo would have mounted."""
    repository = f"{own_registry.address}/push/told"
    summary = tmp_path / "summary"

    def run(seed: int) -> str:
        env = {**storage.env, "GITHUB_STEP_SUMMARY": str(summary)}
        words = ("--tls-verify=false", f"--push=docker://{repository}:1")
        return tools.run(*tools.RECHUNK, "split", small(seed), *words, env=env).err

    said = run(0)
    layers = len(json.loads(document(f"{repository}:1"))["layers"])
    assert re.search(rf"^\d\.\d of \d\.\d MB in {layers} of {layers} layers uploaded$", said, re.MULTILINE)
    old = digest_of(f"{repository}:1")
    said = run(1)
    told = (
        rf"1\.\d of \d\.\d MB in 1 of {layers} layers uploaded, {layers - 1} reused from {repository}@{old}"
    )
    match = re.search(f"^{told}$", said, re.MULTILINE)
    assert match
    assert summary.read_text().splitlines()[1:] == [f"* `docker://{repository}:1`: {match[0]}"]
    # the registry has these blobs, of which the image before knows nothing
    done = push(storage, small(1), f"--push=docker://{repository}:2", "--fresh")
    end = "layers uploaded; the registry had the rest of these layers"
    assert re.search(rf"^[\d.]+ kB of \d\.\d MB in {layers} of {layers} {end}$", done.err, re.MULTILINE)


def test_docker_gets_gzip_and_never_zstd(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str]
) -> None:
    """This is the default of the profile, though the previous image has zstd."""
    name = f"{registry.address}/docker/image:1"
    push(storage, small(0), f"--push=docker://{name}")
    push(storage, small(0), f"--push=docker://{name}", "--max-layers=docker")
    kinds = {layer["mediaType"] for layer in json.loads(document(name))["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_an_image_before_in_dockers_format(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """Its blobs are verified and reused, under OCI's names and with the annotations that format lacks."""
    name = f"{registry.address}/docker/before"
    push(storage, small(0), f"--push=docker://{name}:oci", "--compression=gzip")
    storage.run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--format=v2s2", "--src-tls-verify=false"),
        *("--dest-tls-verify=false", f"docker://{name}:oci", f"docker://{name}:1"),
    )
    before = json.loads(document(f"{name}:1"))
    assert {layer["mediaType"] for layer in before["layers"]} == {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    }
    done = push(storage, small(1), f"--push=docker://{name}:1", "--json")
    reused = [layer["reused"] for layer in json.loads(done.out)["layers"]]
    assert reused.count(False) == 1
    layers = json.loads(document(f"{name}:1"))["layers"]
    assert {layer["digest"] for layer in layers} & {layer["digest"] for layer in before["layers"]}
    kinds = [layer["mediaType"].rpartition("+")[2] for layer in layers]
    assert kinds == ["gzip" if old else "zstd" for old in reused]
    assert all(layer["annotations"]["org.rechunk.component"] for layer in layers)
    same_files(storage, small(1), f"{name}:1", tmp_path)


def blob(registry: tools.Registry, digest: str) -> Path:
    """Return the file in which the registry keeps a blob."""
    name = digest.removeprefix("sha256:")
    return registry.log.parent / "content/docker/registry/v2/blobs/sha256" / name[:2] / name


def test_a_lost_blob_is_written_anew(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The push is tried once more by itself, whether the previous image is trusted or not."""
    name = f"{registry.address}/lost/image"
    push(storage, small(0), f"--push=docker://{name}:1")
    layers = json.loads(document(f"{name}:1"))["layers"]
    lost = next(layer["digest"] for layer in layers if layer["size"] > 1 << 19)
    for seed, options in ((2, ["--no-verify-previous"]), (4, [])):
        shutil.rmtree(blob(registry, lost))
        done = push(storage, small(seed), f"--push=docker://{name}:1", *options, "--json")
        assert "written anew" in done.err
        assert blob(registry, lost).exists()
    same_files(storage, small(4), f"{name}:1", tmp_path)


def test_a_damaged_blob_is_not_taken_for_the_new_one(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The registry says that it has a blob of that digest, and would keep its bad bytes."""
    name = f"{registry.address}/damaged/image"
    push(storage, small(0), f"--push=docker://{name}:1", "--compression-level=2")
    layers = json.loads(document(f"{name}:1"))["layers"]
    bad = next(layer["digest"] for layer in layers if layer["size"] > 1 << 19)
    path = blob(registry, bad) / "data"
    good = path.read_bytes()
    path.write_bytes(good[:-4] + bytes(byte ^ 255 for byte in good[-4:]))
    try:
        options = ["--compression-level=2", "--json", "--verify-previous"]
        done = push(storage, small(0), f"--push=docker://{name}:1", *options)
        assert f"blob {bad}: " in done.err
        assert "1 layers are written anew" in done.err
        told = json.loads(done.out)["layers"]
        assert [layer["reused"] for layer in told].count(False) == 1
        assert bad not in {layer["digest"] for layer in told}
        same_files(storage, small(0), f"{name}:1", tmp_path)
    finally:
        path.write_bytes(good)  # other tests share the registry, and its blobs


def test_a_forged_blob_does_not_travel_on(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """A manifest that names another blob for a layer than its diff_id says."""
    name = f"{registry.address}/forged/image"
    push(storage, small(0), f"--push=docker://{name}:good")
    manifest = json.loads(document(f"{name}:good"))
    large = [layer for layer in manifest["layers"] if layer["size"] > 1 << 19]
    wrong = large[1]["digest"]
    large[0].update({"digest": wrong, "size": large[1]["size"]})
    data = json.dumps(manifest).encode()
    config = document(f"{name}:good", "--config")
    layout = tmp_path / "forged"
    (layout / "blobs/sha256").mkdir(parents=True)
    for content in (data, config):
        (layout / "blobs/sha256" / hashlib.sha256(content).hexdigest()).write_bytes(content)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = {
        "mediaType": manifest["mediaType"],
        "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
    storage.run(*command, "--dest-tls-verify=false", f"oci:{layout}", f"docker://{name}:forged")

    done = push(storage, small(0), f"--push=docker://{name}:forged", "--json")
    assert f"blob {wrong}: it holds" in done.err
    assert "forged" in done.err
    written = [layer for layer in json.loads(done.out)["layers"] if not layer["reused"]]
    assert len(written) >= 1
    same_files(storage, small(0), f"{name}:forged", tmp_path)


@pytest.mark.parametrize("victim", ["split", "skopeo"])
def test_a_killed_push_leaves_the_tag_and_is_taken_up_again(
    storage: tools.Storage,
    registry: tools.Registry,
    small: Callable[[int], str],
    tmp_path: Path,
    victim: str,
) -> None:
    """SIGKILL in the middle of an upload: to rechunk-podman, which takes skopeo along, or to skopeo."""
    name = f"killed/{victim}:1"
    push(storage, small(0), f"--push=docker://{registry.address}/{name}")
    old = digest_of(f"{registry.address}/{name}")
    uploads = itertools.count()
    with front_of(registry.address) as front:
        # the first upload, of the changed layer, is ours; the second, of the config, is skopeo's
        front.fault = lambda method, path: STALL if method == "PATCH" and next(uploads) else None
        words = [
            *tools.RECHUNK,
            "split",
            small(3),
            "--tls-verify=false",
            f"--push=docker://{front.address}/{name}",
        ]
        with subprocess.Popen(
            words,
            env={**os.environ, **storage.env, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert front.stalled.wait(120)
            (child,) = children(process.pid, "copy")
            watch = os.pidfd_open(child)
            os.kill(process.pid if victim == "split" else child, signal.SIGKILL)
            out, err = process.communicate(timeout=60)
            assert select.select([watch], [], [], 60)[0]  # skopeo has ended, too
            os.close(watch)
        assert out == ""
        if victim == "skopeo":
            assert process.returncode == 1
            assert "error: cannot push" in err
            assert "was ended by signal 9" in err
            assert "run the same command again" in err
            assert list(tmp_path.iterdir()) == []
        assert digest_of(f"{registry.address}/{name}") == old
    digest = push(storage, small(3), f"--push=docker://{registry.address}/{name}").out.strip()
    assert digest == digest_of(f"{registry.address}/{name}") != old
    same_files(storage, small(3), f"{registry.address}/{name}", tmp_path)


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/blobs/uploads/"), ("PUT", "/manifests/"), ("GET", "/manifests/")]
)
def test_a_registry_that_falls_silent(
    storage: tools.Storage,
    registry: tools.Registry,
    small: Callable[[int], str],
    tmp_path: Path,
    method: str,
    path: str,
) -> None:
    """During an upload, at the manifest, before anything: an error that names it, and the tag stays."""
    name = f"silent/{method.lower()}:1"
    push(storage, small(0), f"--push=docker://{registry.address}/{name}")
    old = digest_of(f"{registry.address}/{name}")
    with front_of(registry.address) as front:
        front.fault = lambda asked, where: STALL if asked == method and path in where else None
        target = f"--push=docker://{front.address}/{name}"
        done = push(storage, small(4), target, "--timeout=5", "--workdir", tmp_path, check=False)
    assert (done.code, done.out) == (1, "")
    assert "hint: " in done.err
    assert "--timeout SECONDS waits longer" in done.err
    if method == "GET":
        assert f"error: the registry of docker://{front.address}/{name} cannot be reached" in done.err
    else:
        assert f"error: {front.address} has been silent for 5 s: cannot push docker://" in done.err
        assert done.err.count("trying again") == 1
    assert list(tmp_path.iterdir()) == []
    assert digest_of(f"{registry.address}/{name}") == old


def test_a_registry_that_falls_silent_while_blobs_are_verified(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    name = "silent/verified:1"
    push(storage, small(0), f"--push=docker://{registry.address}/{name}")
    layers = {layer["digest"] for layer in json.loads(document(f"{registry.address}/{name}"))["layers"]}
    with front_of(registry.address) as front:
        front.fault = lambda asked, where: STALL if where.rpartition("/")[2] in layers else None
        target = f"--push=docker://{front.address}/{name}"
        words = ("--timeout=2", "--workdir", tmp_path)
        done = tools.run(
            *(*tools.RECHUNK, "split", small(4), "--tls-verify=false", target, *words),
            env={**storage.env, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            check=False,
        )
    assert (done.code, done.out) == (1, "")
    assert f"error: {front.address} has been silent for 2 s: cannot read docker://" in done.err


def children(parent: int, word: str) -> Iterator[int]:
    """The skopeo processes that a process started, with that word among their arguments."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text()
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and words[0].endswith(b"skopeo") and word.encode() in words:
            yield int(entry.name)


def test_a_registry_that_fails_now_and_then(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The push is tried again, and says so; an answer that will not change is believed at once."""
    with front_of(registry.address) as front:
        left = [503, 500]
        front.fault = lambda method, path: left.pop() if method == "PATCH" and left else None
        name = f"{front.address}/flaky/image:1"
        done = push(storage, small(0), f"--push=docker://{name}")
        assert done.err.count("trying again") >= 1
        assert "attempt 1 of 4" in done.err
        assert done.out.strip() == digest_of(name)

        # The manifest, the config, a blob that is verified, the question for one, the manifest that is put.
        layer = json.loads(document(name))["layers"][0]["digest"]
        once = [("GET", "/manifests/", 500), ("GET", "/blobs/", 503), ("GET", f"/blobs/{layer}", 500)]
        once += [("HEAD", "/blobs/", 500), ("PUT", "/manifests/", 503)]

        def fail(method: str, path: str) -> int | None:
            if once and method == once[0][0] and once[0][1] in path:
                return once.pop(0)[2]
            return None

        front.fault = fail
        done = push(storage, small(3), f"--push=docker://{name}", "--json", "--verify-previous")
        assert once == []
        assert done.err.count("trying again") == 5
        assert [layer["reused"] for layer in json.loads(done.out)["layers"]].count(False) == 1
        same_files(storage, small(3), name, tmp_path)

        front.fault = lambda method, path: 403 if method == "PUT" and "/manifests/" in path else None
        front.asked.clear()
        done = push(storage, small(4), f"--push=docker://{name}", check=False)
        assert done.code == 1
        assert "error: the registry does not let this user push" in done.err
        assert sum(method == "PUT" and "/manifests/" in path for method, path in front.asked) == 1


def test_files_instead_of_storage(
    storage: tools.Storage, small: Callable[[int], str], tmp_path: Path
) -> None:
    """--output writes what docker load, skopeo and others read; nothing appears in storage."""
    source = small(0)
    before = storage.run("podman", "images", "--all", "--quiet").out
    for output in ("docker-archive:image.tar", "oci-archive:image.oci", "oci:layout"):
        done = storage.rechunk("split", source, "--output", output, "--json", cwd=tmp_path)
        told = json.loads(done.out)
        assert re.search(rf"note: space: writing the image: .* free at {tmp_path}\n", done.err)
        kind, path = output.split(":")
        assert told["image"] == f"{kind}:{tmp_path / path}"
        storage.rechunk("validate", f"{kind}:{tmp_path / path}")
    storage.rechunk("verify", f"containers-storage:{small(0)}", f"docker-archive:{tmp_path / 'image.tar'}")
    with tarfile.open(tmp_path / "image.tar") as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        assert json.loads(member.read())[0]["RepoTags"] == ["localhost/small:seed0-chunked"]
    assert storage.run("podman", "images", "--all", "--quiet").out == before


def test_storage_that_has_the_layers_gets_the_rest(
    storage: tools.Storage, small: Callable[[int], str], tmp_path: Path
) -> None:
    """The second split writes one of the large layers, says what it needs, and the image is whole."""
    tag = "localhost/local:result"
    options = ["--engine=native", "-t", tag, "--workdir", str(tmp_path), "-v"]
    needs = []
    for seed in (0, 1):
        done = storage.rechunk("split", small(seed), *options)
        needs += re.findall(r"layers to be written: at most ([\d.]+) MB needed, .* free at (\S+)", done.err)
        assert re.search(rf"note: space: .*MB needed, .* free at {tmp_path}", done.err)
        storage.rechunk("verify", f"containers-storage:{small(seed)}", f"containers-storage:{tag}")
    storage.run("podman", "rmi", tag)
    (before, _), (after, place) = needs
    assert float(before) > PARTS > 2.5 > float(after)
    assert place.startswith(str(tmp_path))


def test_no_room(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """Said before a byte is written, with what to do; nothing half-made stays."""
    tools.run("mount", "-t", "tmpfs", "-o", "size=256k", "rechunk-test", tmp_path)
    try:
        name = f"{registry.address}/room/image:1"
        for options in (["--engine=native", "-t", "localhost/room:1"], [f"--push=docker://{name}"]):
            done = push(storage, small(0), *options, "--workdir", tmp_path, check=False)
            assert done.code == 1
            assert "error: not enough space" in done.err
            assert "--workdir" in done.err
            assert list(tmp_path.iterdir()) == []
    finally:
        tools.run("umount", tmp_path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--push=localhost/x:1"], "not a registry reference"),
        (["--push=docker://r.example/x@sha256:" + "0" * 64], "nothing can be pushed to a digest"),
        (["--push=docker://r.example/x:1", "-t", "y"], "--push leaves nothing in local storage"),
        (["--push=docker://r.example/x:1", "--engine=buildah"], "--engine buildah cannot"),
        (["--digestfile=x"], "only what is pushed has a digest"),
        (["--output=oci-archive:-"], "writes no image to standard output"),
        (["--push=docker://r.example/x:1", "--digestfile=/absent/x"], "--digestfile /absent/x: there is no"),
        (["--push=docker://r.example/x:1", "--state=/absent/x"], "--state /absent/x: there is no"),
        (["--push=docker://r.example/x:1", "--digestfile=/tmp"], "/tmp: it is a directory"),
        (["--push=docker://r.example/x:1", "--digestfile=x", "--state=./x"], "name the same place: ./x"),
        (["--output=oci:x", "--state=x/index.json"], "name the same place: x/index.json"),
        (["--push=docker://r.example/x:1", "--state=/dev/null"], "/dev/null is no file"),
    ],
)
def test_wrong_calls(storage: tools.Storage, options: list[str], what: str) -> None:
    done = storage.rechunk("split", "localhost/none", *options, check=False)
    assert done.code == 2
    assert what in done.err


def test_no_tmpdir(storage: tools.Storage) -> None:
    """podman would stumble over it, and say nothing that helps."""
    done = storage.run("env", "TMPDIR=/absent", *tools.RECHUNK, "split", "localhost/none", check=False)
    assert done.code == 2
    assert "error: TMPDIR is no directory: /absent" in done.err
