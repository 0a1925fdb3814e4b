"""inspect, diff and --previous on real images: Debian as released, with its updates, and derived from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.oci.validate.image import validate
from support import chunker, tools
from support.needs import require

HTPASSWD = "user:$2b$04$VRiReuuHpj/YU0eELApqpu4.vmX..uUAn8/LKPld4jKFCd7YKejP6\n"
"""The password is sesame-street."""


@dataclass(frozen=True)
class Pair:
    """Two releases of one image as OCI layouts (gzip), the second built with the first as its --previous."""

    folder: Path
    storage: tools.Storage

    @property
    def old(self) -> str:
        return f"oci:{self.folder}/old"

    @property
    def new(self) -> str:
        return f"oci:{self.folder}/new"

    def json(self, *arguments: str, check: bool = True) -> Any:
        return json.loads(self.storage.rechunk(*arguments, "--json", check=check).out)

    def diff_ids(self, reference: str) -> list[str]:
        return list(documents(reference)[1]["rootfs"]["diff_ids"])


def documents(reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and config of a layout, read by hand."""
    folder = Path(reference.removeprefix("oci:"))

    def blob(digest: str) -> Any:
        return json.loads((folder / "blobs" / digest.replace(":", "/")).read_bytes())

    index = json.loads((folder / "index.json").read_bytes())
    manifest = blob(index["manifests"][0]["digest"])
    return manifest, blob(manifest["config"]["digest"])


@pytest.fixture(scope="module")
def pair(
    storage: tools.Storage,
    debian_image: str,
    debian_updated_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    pair = Pair(tmp_path_factory.mktemp("pair"), storage)
    for name, target, previous in (
        (debian_image, pair.old, []),
        (debian_updated_image, pair.new, [pair.old]),
    ):
        (pair.folder / "config.json").write_text(storage.run("podman", "image", "inspect", name).out)
        with storage.mounted(name) as root:
            storage.rechunk(
                "build",
                *("--rootfs", root, "--config", pair.folder / "config.json", "--output", target),
                *("--compression", "gzip", "--no-reuse"),
                *(word for reference in previous for word in ("--previous", reference)),
            )
        validate(target, strict=True).check()
    return pair


def test_inspect_tells_what_the_layout_holds(pair: Pair) -> None:
    manifest, config = documents(pair.new)
    shown = pair.json("inspect", pair.new)
    assert [entry["digest"] for entry in shown["layers"]] == [entry["digest"] for entry in manifest["layers"]]
    assert [entry["diff_id"] for entry in shown["layers"]] == config["rootfs"]["diff_ids"]
    for entry in shown["layers"]:
        blob = pair.folder / "new/blobs" / entry["digest"].replace(":", "/")
        assert entry["size"] == blob.stat().st_size
        assert entry["described_by"] == "ledger"
    assert shown["size"] == sum(entry["size"] for entry in shown["layers"])
    rated = sum(entry["size"] * entry["rate"] for entry in shown["layers"])
    assert shown["expected_bytes_per_update"] == pytest.approx(rated)
    assert 0 < rated < shown["size"]
    held = [component for entry in shown["layers"] for component in entry["components"]]
    # a component is in one layer as a whole, or in several in parts
    wholes = [component["id"] for component in held if not component.get("parts")]
    names = {component["id"] for component in held}
    assert len(wholes) == len(set(wholes))
    assert not set(wholes) & {component["id"] for component in held if component.get("parts")}
    assert len(names) == shown["ledger"]["components"]
    assert {"dpkg/openssl", "dpkg/glibc", "database/dpkg"} <= names
    first, second = shown["ledger"]["releases"]
    assert first["new"] == pair.json("inspect", pair.old)["ledger"]["components"]
    assert 0 < second["changed"] < len(names)
    assert shown["ledger"]["bytes"] < 40 * 1024


def test_diff_tells_what_the_wire_carries(pair: Pair) -> None:
    """Its sums are those of the blobs that the new layout has and the old one has not."""
    shown = pair.json("diff", pair.old, pair.new)
    have = {entry["digest"] for entry in documents(pair.old)[0]["layers"]}
    layers = documents(pair.new)[0]["layers"]
    sizes = {entry["digest"]: entry["size"] for entry in layers}
    missing = [digest for digest in sizes if digest not in have]
    assert shown["download"]["bytes"] == sum(sizes[digest] for digest in missing)
    assert shown["download"]["layers"] == len(missing)
    assert shown["kept"]["bytes"] == sum(sizes[digest] for digest in have & set(sizes))
    assert shown["kept"]["layers"] + shown["download"]["layers"] == len(layers)
    assert 0 < shown["download"]["bytes"] < sum(sizes.values())
    old, new = pair.diff_ids(pair.old), pair.diff_ids(pair.new)
    first = next(place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    assert shown["first_changed"] == first + 1
    assert shown["reextracted"] == sum(entry["size"] for entry in layers[first:])


def test_diff_tells_why(pair: Pair, debian_image: str, debian_updated_image: str) -> None:
    """The packages that it names are those of which dpkg has another version, and no others."""
    versions = []
    for name in (debian_image, debian_updated_image):
        with pair.storage.mounted(name) as root:
            query = ("--showformat=${source:Package} ${source:Version}\\n", "--show")
            listed = tools.run("dpkg-query", f"--admindir={root}/var/lib/dpkg", *query).out
        versions.append(dict(line.split() for line in listed.splitlines()))
    old, new = versions
    shown = pair.json("diff", pair.old, pair.new)
    updated = {f"dpkg/{name}" for name in old.keys() & new.keys() if old[name] != new[name]}
    changed = {entry["id"]: entry for entry in shown["components"]["changed"]}
    assert updated
    assert {name for name in changed if name.startswith("dpkg/")} == updated
    for entry in (changed[name] for name in updated):
        assert entry["old_version"] != entry["new_version"] != ""
    for entry in shown["layers"]:
        states = {component["status"] for component in entry["components"]}
        if entry["status"] == "kept":
            assert states == {"unchanged"}
        elif not states - {"unchanged"}:
            # parts that stayed the same, of components that changed: the layer that held them is gone
            assert all(component["parts"] and component["id"] in changed for component in entry["components"])


def test_diff_with_files(pair: Pair) -> None:
    """The paths are those of the layers that are downloaded; the sums are those of all bytes."""
    shown = pair.json("diff", "--files", pair.old, pair.new)
    downloaded = {entry["number"] for entry in shown["layers"] if entry["status"] == "changed"}
    assert downloaded >= {entry["number"] for entry in shown["files"]} != set()
    paths = {change["path"] for entry in shown["files"] for change in entry["changes"]}
    assert "/var/lib/dpkg/status" in paths
    assert sum(cause["bytes"] for cause in shown["causes"]) == shown["download"]["bytes"]
    assert "packages" in {cause["cause"] for cause in shown["causes"]}
    text = pair.storage.rechunk("diff", "--files", pair.old, pair.new).out.splitlines()
    assert any(line.startswith("  /var/lib/dpkg/status: content: ") for line in text)
    assert text[-1] == shown["verdict"]
    sizes = {entry["number"]: entry["size"] for entry in shown["layers"]}
    table = [int(line.split("│")[1]) for line in text if line.startswith("│ ")]
    assert [sizes[number] for number in table] == sorted((sizes[n] for n in downloaded), reverse=True)


def test_an_encoding_without_arrows(pair: Pair) -> None:
    environment = {**pair.storage.env, "PYTHONIOENCODING": "ascii"}
    done = tools.run(*tools.RECHUNK, "diff", pair.old, pair.new, env=environment)
    assert " -> " in done.out


def test_names_of_images_are_completed(pair: Pair) -> None:
    words = {"COMP_WORDS": "rechunk-podman inspect local", "COMP_CWORD": "2"}
    environment = {**pair.storage.env, **words, "_RECHUNK_PODMAN_COMPLETE": "complete_bash"}
    offered = tools.run(*tools.RECHUNK, env=environment).out.split()
    assert {"localhost/debian:release", "localhost/debian:updated"} <= set(offered)


def test_as_text(pair: Pair) -> None:
    text = pair.storage.rechunk("diff", pair.old, pair.new).out
    download = pair.json("diff", pair.old, pair.new)["download"]
    assert f"{download['layers']} of " in next(x for x in text.splitlines() if x.startswith("download: "))
    assert "  dpkg/openssl 3." in text
    text = pair.storage.rechunk("inspect", pair.new).out
    assert "releases: 2" in text
    assert "expected per update: " in text
    same = pair.storage.rechunk("diff", pair.new, pair.new).out
    assert "download: 0 B" in same
    assert "unpacks nothing" in same


def test_the_same_in_a_registry(pair: Pair, registry: tools.Registry) -> None:
    """Manifests and configs alone are fetched, and the figures are the same."""
    names = []
    for which in ("old", "new"):
        names.append(f"docker://{registry.address}/debian:{which}")
        command = ("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false")
        tools.run(*command, f"oci:{pair.folder}/{which}", names[-1])
    before = registry.log.read_text().count("\n")
    shown = pair.json("diff", "--tls-verify=false", *names)
    local = pair.json("diff", pair.old, pair.new)
    for key in ("download", "kept", "components", "first_changed", "reextracted"):
        assert shown[key] == local[key]
    layers = {entry["digest"] for which in (pair.old, pair.new) for entry in documents(which)[0]["layers"]}
    asked = "\n".join(registry.log.read_text().splitlines()[before:])
    assert "/v2/debian/manifests/" in asked
    assert not [digest for digest in layers if digest in asked]
    with pair.storage.mounted("localhost/debian:updated") as root:
        command = ("build", "--rootfs", root, "--plan-only", "--json", "--tls-verify=false", "--previous")
        assert pair.json(*map(str, command), names[0]) == pair.json(*map(str, command), pair.old)


def test_an_index_of_several_images(pair: Pair, registry: tools.Registry, tmp_path: Path) -> None:
    """Ours is the one of this machine's architecture, or the one that was asked for."""
    (tmp_path / "root/etc").mkdir(parents=True)
    other = f"oci:{tmp_path}/other"
    pair.storage.rechunk("build", "--rootfs", tmp_path / "root", "--arch", "s390x", "--output", other)
    manifests = []
    for reference in (other, pair.new):
        folder, architecture = Path(reference[4:]), documents(reference)[1]["architecture"]
        command = ("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false")
        tools.run(*command, reference, f"docker://{registry.address}/many:{architecture}")
        (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        platform = {"os": "linux", "architecture": architecture}
        manifests.append({**entry, "platform": platform, "annotations": {}})
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }
    tools.run(
        "curl",
        *("--fail", "--silent", "--show-error", "--request", "PUT", "--data-binary", json.dumps(index)),
        *("--header", f"Content-Type: {index['mediaType']}"),
        f"http://{registry.address}/v2/many/manifests/all",
    )
    name = f"docker://{registry.address}/many:all"
    digests = [entry["digest"] for entry in manifests]
    assert pair.json("inspect", "--tls-verify=false", name)["digest"] == digests[1]
    assert pair.json("inspect", "--tls-verify=false", "--arch=s390x", name)["digest"] == digests[0]
    wrong = pair.storage.rechunk("inspect", "--tls-verify=false", "--arch=riscv64", name, check=False)
    assert wrong.code == 2
    assert "no image for linux/riscv64" in wrong.err


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    """A registry that asks for a user name and a password."""
    require("docker-registry")
    folder = tmp_path_factory.mktemp("closed")
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
    with tools.loopback_registry(folder, settings=auth) as found:
        yield found


def test_credentials(pair: Pair, closed_registry: tools.Registry) -> None:
    """They open the registry, are never shown, and without them the error says what to do."""
    name = f"docker://{closed_registry.address}/closed:1"
    command = ("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false")
    tools.run(*command, "--dest-creds=user:sesame-street", pair.new, name)
    tls = "--tls-verify=false"
    opened = pair.storage.rechunk("inspect", tls, "-vv", "--creds=user:sesame-street", "--json", name)
    assert json.loads(opened.out)["digest"] == pair.json("inspect", pair.new)["digest"]
    assert "running skopeo" in opened.err
    assert "sesame" not in opened.err
    for creds in ([], ["--creds=user:sesame-wrong"]):
        closed = pair.storage.rechunk("inspect", tls, "-vv", *creds, name, check=False)
        assert closed.code == 1
        assert f"error: the registry does not show {name}" in closed.err
        assert "hint: log in (podman login)" in closed.err
        assert "sesame" not in closed.err + closed.out


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("docker://{registry}/absent:1", 2, "no image docker://"),
        ("docker://127.0.0.1:1/x", 1, "cannot be reached"),
        ("docker://{registry}/x:1 --tls-verify=true", 1, "no trusted connection"),
        ("localhost/absent:1", 2, "no image localhost/absent:1 in local storage"),
        ("oci:{folder}/absent", 2, "no such file or directory"),
        ("docker://Not/Lower", 2, "not an image name"),
        ("dir:{folder}", 2, "cannot read"),
    ],
)
def test_errors(pair: Pair, registry: tools.Registry, reference: str, code: int, message: str) -> None:
    words = reference.format(registry=registry.address, folder=pair.folder).split()
    for command in (["inspect"], ["diff", pair.old]):
        failed = pair.storage.rechunk(*command, "--tls-verify=false", *words, check=False)
        assert failed.code == code
        assert message in failed.err.splitlines()[0]
        assert failed.out == ""
        assert "Traceback" not in failed.err


def test_local_storage_and_saved_config(pair: Pair) -> None:
    """Imported, an image keeps its Ledger; its layers are known by diff_id, its blobs are others."""
    name = "localhost/chunked:new"
    pair.storage.copy(pair.new, f"containers-storage:{name}")
    for reference in (name, f"containers-storage:{name}"):
        shown = pair.json("inspect", reference)
        assert [entry["diff_id"] for entry in shown["layers"]] == pair.diff_ids(pair.new)
        assert shown["ledger"]["components"] == pair.json("inspect", pair.new)["ledger"]["components"]
    saved = pair.folder / "saved.json"
    saved.write_text(pair.storage.run("podman", "image", "inspect", name).out)
    shown = pair.json("inspect", str(saved))
    assert shown["size"] is None
    assert shown["ledger"]["components"] == pair.json("inspect", pair.new)["ledger"]["components"]
    against = pair.json("diff", pair.old, str(saved))
    assert against["components"] == pair.json("diff", pair.old, pair.new)["components"]
    assert against["download"]["unknown_sizes"] == against["download"]["layers"] > 0


def plan(pair: Pair, root: Path, *options: str) -> list[tuple[str, ...]]:
    shown = pair.json("build", "--rootfs", str(root), "--plan-only", *options)
    return [tuple(component["id"] for component in entry["components"]) for entry in shown["layers"]]


def test_memory_and_its_loss(pair: Pair, tmp_path: Path) -> None:
    """--fresh, a garbled Ledger, an image that is not there: the plan of a first image, and it says why."""
    garbled = tmp_path / "garbled.json"
    document = documents(pair.old)[1]
    for entry in document["history"]:
        if entry["created_by"] == "rechunk-podman ledger":
            entry["comment"] = entry["comment"][: len(entry["comment"]) // 2]
    garbled.write_text(json.dumps(document))
    with pair.storage.mounted("localhost/debian:updated") as root:
        first = plan(pair, root)
        remembered = plan(pair, root, "--previous", pair.old)
        assert remembered != first
        assert plan(pair, root, "--previous", pair.old, "--fresh") == first
        for reference, reason in (
            (str(garbled), "ledger truncated"),
            ("localhost/absent:1", "no previous image"),
        ):
            build = ("build", "--rootfs", str(root), "--plan-only", "--json", "--previous", reference)
            lost = pair.storage.rechunk(*build)
            assert f"warning: {reason}" in lost.err or f": {reason}" in lost.err
            assert "without memory" in lost.err
            assert [
                tuple(component["id"] for component in entry["components"])
                for entry in json.loads(lost.out)["layers"]
            ] == first
        environment = tools.run(
            *tools.RECHUNK,
            *("build", "--rootfs", root, "--plan-only", "--json"),
            env={**pair.storage.env, "RECHUNK_PREVIOUS": pair.old},
        )
        named = [
            tuple(component["id"] for component in entry["components"])
            for entry in json.loads(environment.out)["layers"]
        ]
        assert named == remembered


def test_no_ledger(pair: Pair, tmp_path: Path) -> None:
    """The image says nothing, and is described by its annotations all the same."""
    target = f"oci:{tmp_path}/silent"
    with pair.storage.mounted("localhost/debian:release") as root:
        pair.storage.rechunk("build", "--rootfs", root, "--output", target, "--no-ledger")
    shown = pair.json("inspect", target)
    assert shown["ledger"] is None
    assert shown["ledger_problem"]["reason"] == "missing"
    assert "org.rechunk.ledger" not in (documents(target)[1]["config"].get("Labels") or {})
    assert {entry["described_by"] for entry in shown["layers"]} == {"annotation"}


def test_a_derived_image_keeps_its_bases_layers(pair: Pair, tmp_path: Path) -> None:
    """FROM a split image, COPY a file, split again: the base's layers are the same, digest for digest."""
    storage = pair.storage
    base = "localhost/chunked:base"
    storage.copy(pair.new, f"containers-storage:{base}")
    (tmp_path / "app").write_text("an application\n" * 1000)
    (tmp_path / "Containerfile").write_text(
        f"FROM {base}\nCOPY app /usr/share/application/data\nLABEL kind=derived\n"
    )
    derived = "localhost/derived:1"
    storage.run("buildah", "build", "--layers=false", "--tag", derived, tmp_path)
    described = pair.json("inspect", derived)
    assert described["ledger"]["derived"] is True
    assert described["layers"][-1]["described_by"] == "created_by"
    config, target = tmp_path / "config.json", f"oci:{tmp_path}/layout"
    config.write_text(storage.run("podman", "image", "inspect", derived).out)
    options = ("--config", config, "--compression", "gzip", "--output", target)
    with storage.mounted(derived) as root:
        storage.rechunk("build", "--rootfs", root, *options)
    below, above = pair.diff_ids(pair.new), pair.diff_ids(target)
    assert above[: len(below)] == below
    shown = pair.json("diff", pair.new, target)
    assert shown["kept"]["layers"] == len(below)
    assert shown["first_changed"] == len(below) + 1
    assert [entry["id"] for entry in shown["components"]["new"]] == ["unclaimed/usr/share/application"]
    assert shown["components"]["changed"] == []
    again = f"oci:{tmp_path}/again"
    with storage.mounted(derived) as root:
        options = ("--config", config, "--output", again, "--previous", target)
        storage.rechunk("build", "--rootfs", root, *options)
    assert pair.diff_ids(again) == above
    validate(target, strict=True).check()


def test_split_remembers_what_its_target_held(pair: Pair, tmp_path: Path) -> None:
    """Split to the same name again, that image is the previous one; one derived from it keeps its layers."""
    storage, target = pair.storage, "localhost/remembered:1"
    storage.rechunk("split", "localhost/debian:release", "-t", target, "--engine", "native")
    saved = tmp_path / "saved.json"
    saved.write_text(storage.run("podman", "image", "inspect", target).out)
    storage.rechunk("split", "localhost/debian:updated", "-t", target, "--engine", "native")
    shown = pair.json("inspect", target)
    assert [release["new"] > 0 for release in shown["ledger"]["releases"]] == [True, False]
    kept = pair.json("diff", str(saved), target)["kept"]["layers"]
    assert kept > len(shown["layers"]) / 2
    (tmp_path / "app").write_text("an application\n")
    (tmp_path / "Containerfile").write_text(f"FROM {target}\nCOPY app /usr/share/application/data\n")
    storage.run("buildah", "build", "--layers=false", "--tag", "localhost/on-it:1", tmp_path)
    storage.rechunk("split", "localhost/on-it:1", "--engine", "native")
    derived = [entry["diff_id"] for entry in pair.json("inspect", "localhost/on-it:1-chunked")["layers"]]
    below = [entry["diff_id"] for entry in shown["layers"]]
    assert derived[: len(below)] == below
    assert len(derived) == len(below) + 1


@pytest.mark.parametrize("way", ["file", "argument", "options"])
def test_previous_in_the_flow_of_the_containerfile(
    pair: Pair, repository: Path, tmp_path: Path, way: str
) -> None:
    """A file of the context: by its own name, or named by a build argument or an option."""
    name = chunker.provide(repository, pair.storage)
    saved = tmp_path / ("rechunk-previous.json" if way == "file" else "before.json")
    saved.write_text(json.dumps(documents(pair.old)[1]))
    options = {
        "file": "RECHUNK_ARGS=",
        "argument": "RECHUNK_PREVIOUS=before.json",
        "options": "RECHUNK_ARGS=--previous before.json",
    }
    target = f"localhost/flow:{way}"
    pair.storage.run(
        *("buildah", "build", "--skip-unused-stages=false", "--from", "localhost/debian:updated"),
        *("-v", f"{tmp_path}:/run/src", "--security-opt", "label=disable"),
        *("--build-arg", f"CHUNKER={name}", "--build-arg", options[way], "-t", target),
        *("-f", repository / "Containerfile.splitter", "."),
        cwd=tmp_path,
    )
    pair.storage.run("buildah", "rm", "--all")
    assert len(pair.json("inspect", target)["ledger"]["releases"]) == 2
    assert (
        pair.json("diff", pair.old, target)["components"]
        == pair.json("diff", pair.old, pair.new)["components"]
    )
