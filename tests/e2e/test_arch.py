"""--arch: each command, of each place an image can be in, reads the platform asked for, or refuses."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from rechunk_podman.cli.app import COMMANDS
from rechunk_podman.oci import spec
from support import tools
from support.assigning import make
from support.oci_material import Layout, archive_of, make_tar, member, sha256

PLATFORMS = ("amd64", "arm64")
PLACES = ("layout", "archive", "docker-archive", "registry", "registry-bare", "storage")

HONOURED = {
    *(
        "build",
        "changelog",
        "components",
        "diff",
        "history",
        "inspect",
        "lint",
        "previous",
        "split",
        "verify",
    ),
}

STATUS = "Package: tool-{0}\nStatus: install ok installed\nArchitecture: {0}\nVersion: 1\n"


def files_of(arch: str) -> dict[str, str]:
    """Path -> text."""
    folder = "var/lib/dpkg"
    return {f"{folder}/status": STATUS.format(arch), f"{folder}/info/tool-{arch}.list": "/.\n"}


def layer_of(arch: str) -> bytes:
    """The only layer of the image for a platform: a package that it alone has."""
    return make_tar([member(path, data=text.encode()) for path, text in files_of(arch).items()])


def two_platforms(folder: Path) -> Path:
    """A layout with an index over an image for each platform, which differ in one file."""
    entries, layouts = [], {}
    for arch in PLATFORMS:
        layouts[arch] = layout = Layout(folder / arch)
        layout.layer(layer_of(arch))
        layout.config.update(architecture=arch, created="2026-01-02T03:04:05Z")
        layout.finish()
        later = Layout(folder / f"later-{arch}")
        later.layer(layer_of(arch))
        later.layer(make_tar([member("etc/later", data=b"later")]))
        later.config.update(architecture=arch, created="2026-02-03T04:05:06Z")
        later.finish()
        entries.append({**layout.entry, "platform": {"os": "linux", "architecture": arch}})
    both = Layout(folder / "both")
    for layout in layouts.values():
        for blob in (layout.path / "blobs/sha256").iterdir():
            (both.path / "blobs/sha256" / blob.name).write_bytes(blob.read_bytes())
    both.index["manifests"] = entries
    both.write("index.json", both.index)
    return both.path


def without_platforms(both: Path, target: Path) -> Path:
    """The same images below one index that tells no platforms, as the specification allows."""
    shutil.copytree(both, target)
    index = json.loads((target / "index.json").read_text())
    for entry in index["manifests"]:
        del entry["platform"]
    data = json.dumps({**index, "mediaType": spec.MEDIA_INDEX}).encode()
    (target / "blobs" / sha256(data).replace(":", "/")).write_bytes(data)
    entry = {"mediaType": spec.MEDIA_INDEX, "digest": sha256(data), "size": len(data)}
    (target / "index.json").write_text(json.dumps({**index, "manifests": [entry]}))
    return target


@pytest.fixture(scope="module")
def places(
    storage: tools.Storage, registry: tools.Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Place -> the two images there; "DIR" -> the files of the one for arm64; platform -> its image alone."""
    folder = tmp_path_factory.mktemp("arch")
    both = two_platforms(folder)
    archive_of(both, folder / "both.tar")
    name = f"{registry.address}/arch/both:1"
    copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false")
    for arch in PLATFORMS:
        storage.copy(f"oci:{folder / arch}", f"containers-storage:localhost/arch:{arch}")
    storage.run(
        "podman",
        "save",
        "-q",
        "-m",
        "-o",
        str(folder / "docker.tar"),
        *(f"localhost/arch:{arch}" for arch in PLATFORMS),
    )
    storage.run("podman", "manifest", "create", "localhost/arch:both")
    for arch in PLATFORMS:
        storage.run(
            "podman", "manifest", "add", "localhost/arch:both", f"containers-storage:localhost/arch:{arch}"
        )
        storage.run(*copy, f"oci:{folder / arch}", f"docker://{registry.address}/arch/both:{arch}")
    members = [f"docker://{registry.address}/arch/both:{arch}" for arch in PLATFORMS]
    storage.rechunk("index", *members, "--push", f"docker://{name}", "--tls-verify=false")
    bare = f"docker://{registry.address}/arch/bare:1"
    storage.run(*copy, "--all", f"oci:{without_platforms(both, folder / 'bare')}", bare)
    make(folder / "root", files_of("arm64"))
    yield {
        "layout": f"oci:{both}",
        "archive": f"oci-archive:{folder / 'both.tar'}",
        "docker-archive": f"docker-archive:{folder / 'docker.tar'}",
        "registry": f"docker://{name}",
        "registry-bare": bare,
        "storage": "containers-storage:localhost/arch:both",
        **{arch: f"oci:{folder / arch}" for arch in PLATFORMS},
        "DIR": str(folder / "root"),
    }
    # podman lists no images where a list may lack one
    storage.run("podman", "manifest", "rm", "localhost/arch:both")
    storage.run("podman", "images", "--all", "--quiet")


def test_which_commands_have_the_option() -> None:
    """Any other refuses it as unknown; a new one with the option has to come into this module."""
    found = set()
    for name in COMMANDS:
        function = getattr(import_module(f"rechunk_podman.cli.commands.{name}"), name)
        if "arch" in inspect.signature(function).parameters:
            found.add(name)
    assert found == HONOURED


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("arch", PLATFORMS)
def test_the_platform_that_is_asked_for(
    storage: tools.Storage, places: dict[str, str], place: str, arch: str, tmp_path: Path
) -> None:
    image = places[place]
    access = ("--tls-verify=false", "--arch", arch)
    (layer,) = json.loads(storage.rechunk("inspect", image, *access, "--json").out)["layers"]
    assert layer["diff_id"] == sha256(layer_of(arch))
    other = places[arch]
    told = json.loads(storage.rechunk("diff", other, image, *access, "--json").out)
    assert [entry["status"] for entry in told["layers"]] == [
        "recompressed" if place.startswith("registry") else "kept"
    ]
    if not place.startswith("registry"):
        changes = json.loads(storage.rechunk("changelog", other, image, *access, "--json").out)["packages"]
        assert (changes["level"], changes["changes"]) == ("binary", [])
    shown = json.loads(storage.rechunk("components", image, *access, "--json").out)
    assert f"dpkg/tool-{arch}" in {component["id"] for component in shown["components"]}
    done = storage.rechunk("verify", image, places["DIR"], *access, check=False)
    assert done.code == (0 if arch == "arm64" else 1), done.out + done.err
    assert ("is fetched: " in done.err) == place.startswith("registry")
    done = storage.rechunk("lint", image, *access, "--fail-on", "never", "--json")
    assert json.loads(done.out)["image"] == image
    report = json.loads(storage.rechunk("lint", other, image, *access, "--json").out)
    assert report["findings"] == []
    history = tmp_path / "history.json"
    later = other.replace(f"/{arch}", f"/later-{arch}")
    storage.rechunk("history", image, later, *access, "--output", history)
    assert sha256(layer_of(arch)) in history.read_text()


@pytest.mark.parametrize("place", PLACES)
def test_a_platform_that_is_not_there(
    storage: tools.Storage, places: dict[str, str], place: str, tmp_path: Path
) -> None:
    """Each command refuses; a build says that it plans without memory."""
    image = places[place]
    access = ("--tls-verify=false", "--arch", "s390x")
    calls = [("inspect", image), ("diff", image, image), ("changelog", image, image), ("lint", image, image)]
    calls += [("verify", image, places["DIR"]), ("lint", image)]
    calls += [("history", image, image, "--output", str(tmp_path / "history.json"))]
    calls += [("components", image)]
    for command, *words in calls:
        done = storage.rechunk(command, *words, *access, check=False)
        assert (done.code, done.out) == (2, ""), (command, done.err)
        assert "s390x" in done.err, done.err
    output = tmp_path / "out"
    done = storage.rechunk(
        *("build", "--rootfs", places["DIR"], "--output", f"oci:{output}", "--previous", image), *access
    )
    assert "no previous image: " in done.err
    assert "s390x" in done.err
    storage.rechunk("validate", f"oci:{output}")


@pytest.mark.parametrize("place", ["layout", "registry"])
def test_a_build_takes_the_record_of_its_platform(
    storage: tools.Storage, registry: tools.Registry, places: dict[str, str], place: str, tmp_path: Path
) -> None:
    """The platform is that of --arch, or the architecture that the config names."""
    config = tmp_path / "config.json"
    config.write_text('{"architecture": "arm64", "os": "linux"}')
    words = ("inspect", places[place], "--arch=arm64", "--tls-verify=false", "--json")
    digest = json.loads(storage.rechunk(*words).out)["digest"]
    for option in (["--arch", "arm64"], ["--config", str(config)]):
        output = tmp_path / option[0]
        done = storage.rechunk(
            *("build", "--rootfs", places["DIR"], "--output", f"oci:{output}", "--tls-verify=false"),
            *("--previous", places[place], *option),
        )
        assert digest in done.err


def test_a_single_image_of_another_platform(storage: tools.Storage, places: dict[str, str]) -> None:
    image = places["registry"].replace(":1", ":amd64")
    done = storage.rechunk("inspect", image, "--tls-verify=false", "--arch", "arm64", check=False)
    assert done.code == 2
    assert "is an image for linux/amd64, not linux/arm64" in done.err


def test_directories_are_for_no_platform(storage: tools.Storage, places: dict[str, str]) -> None:
    for words in (("lint", places["DIR"]), ("verify", places["DIR"], places["DIR"])):
        done = storage.rechunk(*words, "--arch", "amd64", check=False)
        assert done.code == 2
        assert "--arch" in done.err
