"""The shell of action.yml, run as a runner runs it: on images in root's storage, with a registry."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.oci.validate.image import validate
from support import tools, workflow
from support.bootable import bootable_image
from support.needs import require
from support.rules import check_rules, write_rules

CHANGELOG = "# <pretty>\n\nFrom <previous> to <version>:\n\n<pkgupd>\n\n<commits>\n"


class Machine:
    """Runs the action of a checkout with inputs; every run is a job of its own on the same machine."""

    def __init__(self, storage: tools.Storage, registry: tools.Registry, folder: Path, top: Path) -> None:
        self.storage, self.registry, self.folder, self.top = storage, registry, folder, top
        self.workspace, self.temp = folder / "workspace", folder / "temp"
        self.workspace.mkdir()
        self.temp.mkdir()
        containers = folder / "home/.config/containers"
        containers.mkdir(parents=True)
        (containers / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
        )
        (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.machine = {**storage.env, "HOME": str(folder / "home"), "TMPDIR": str(storage.folder)}
        workflow.write_sudo(folder / "bin", self.machine)
        self.action = workflow.load(top / "action.yml")

    def run(self, **given: str) -> tuple[dict[str, str], str]:
        """The outputs, and what the action said."""
        inputs = {name: str(about.get("default", "")) for name, about in self.action["inputs"].items()}
        for name, value in given.items():
            key = name if name in inputs else name.replace("_", "-")
            assert key in inputs
            inputs[key] = value
        contexts: dict[str, Any] = {
            "github": {"action_path": str(self.top), "sha": "0" * 40, "run_number": "1"},
            "inputs": inputs,
        }
        runner = workflow.Runner(
            self.workspace, self.temp, self.machine, contexts, path=(self.folder / "bin",)
        )
        runner.run(self.action["runs"]["steps"], {}, {})
        outputs = {
            name: workflow.fill(output["value"], contexts) for name, output in self.action["outputs"].items()
        }
        return outputs, "".join(runner.ran.values())


@pytest.fixture(scope="module")
def machine(
    storage: tools.Storage,
    registry: tools.Registry,
    tmp_path_factory: pytest.TempPathFactory,
    repository: Path,
) -> Machine:
    require("python3")
    return Machine(storage, registry, tmp_path_factory.mktemp("action"), repository)


def manifest_of(layout: str) -> tuple[bytes, Any]:
    folder = Path(layout)
    index = json.loads((folder / "index.json").read_bytes())
    data = (folder / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_bytes()
    return data, json.loads(data)


def config_of(layout: str) -> Any:
    digest = manifest_of(layout)[1]["config"]["digest"]
    return json.loads((Path(layout) / "blobs" / digest.replace(":", "/")).read_bytes())


def commits(folder: Path, *subjects: str) -> list[str]:
    """A git repository with empty commits: their hashes."""
    git = ("git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@example.org")
    folder.mkdir()
    tools.run(*git, "init", "--quiet")
    hashes = []
    for subject in subjects:
        tools.run(*git, "commit", "--quiet", "--allow-empty", f"--message={subject}")
        hashes.append(tools.run(*git, "rev-parse", "HEAD").out.strip())
    return hashes


def test_twice(
    machine: Machine,
    debian_image: str,
    debian_updated_image: str,
    tmp_path: Path,
) -> None:
    """The line `uses:` changes and nothing else: ref, version, changelog and manifest are where they were."""
    storage = machine.storage
    (machine.workspace / "meta.yml").write_text("max_layers: 20\nmeta: {perl: {files: [/usr/share/perl*]}}\n")
    revisions = commits(tmp_path / "source", "First", "Second: `id` $HOME")
    published = f"{machine.registry.address}/acme/system:stable"
    common = {
        "prev_ref": published,
        "meta": "meta.yml",
        "labels": "org.opencontainers.image.title=System\n\nvariant=<pretty>\n",
        "description": 'A system; with $HOME, `id` and "quotes"',
        "version": "4.<date>",
        "pretty": "Four",
        "git": str(tmp_path / "source"),
        "changelog": CHANGELOG,
        "formatters": "pkgupd.update=* <package> <old>..<new>\\n\ncommits.commit=<short>: <subject>\\n",
    }
    versions, layers = [], []
    for image, revision in zip((debian_image, debian_updated_image), revisions, strict=True):
        storage.run("podman", "tag", image, "localhost/system:40")
        given = {"ref": "localhost/system:40", "rechunk": "ghcr.io/x/y:1", "revision": revision}
        outputs, said = machine.run(**given, **common)
        assert "::warning::" in said
        assert "`rechunk`" in said
        location = outputs["location"]
        assert location == str(machine.workspace / "system_40")
        assert outputs["ref"] == f"oci:{location}"
        validate(outputs["ref"], strict=True).check()
        storage.rechunk("verify", image, outputs["ref"])
        data, manifest = manifest_of(location)
        assert outputs["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert {layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]} == {"gzip"}
        assert len(manifest["layers"]) <= 20
        labels = config_of(location)["config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == outputs["version"]
        assert labels["org.opencontainers.image.title"] == "System"
        assert labels["variant"] == "Four"
        assert labels["org.opencontainers.image.description"] == common["description"]
        assert labels["org.opencontainers.image.revision"] == revision
        assert "containers.bootc" not in labels
        inspected = json.loads(Path(outputs["manifest"]).read_text())
        assert inspected["Layers"] == [layer["digest"] for layer in manifest["layers"]]
        # As without keep-ref: the name is gone from storage.
        assert storage.run("podman", "image", "exists", "localhost/system:40", check=False).code == 1
        versions.append(outputs["version"])
        layers.append({layer["digest"] for layer in manifest["layers"]})
        changelog = Path(outputs["changelog"]).read_text()
        if image == debian_image:
            assert "there is no image" in said
            assert changelog == ""
        else:
            assert changelog.startswith(f"# Four\n\nFrom {versions[0]} to {versions[1]}:\n\n* ")
            assert "* openssl 3." in changelog
            assert re.search(r"\n[0-9a-f]{7,}: Second: `id` \$HOME\n", changelog)
            assert "First" not in changelog
        copy = ("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false")
        tools.run(*copy, outputs["ref"], f"docker://{published}")
    summary = (machine.temp / "GITHUB_STEP_SUMMARY").read_text()
    assert summary.count("### Update: ") == 1, "the first image has none before it"
    assert f"docker://{published}" in summary
    assert re.search(r"^\| dpkg/openssl \| 3\.\S+ \| 3\.\S+ \|$", summary, re.MULTILINE)
    assert versions[1] == f"{versions[0]}.1"
    assert len(layers[0] & layers[1]) > len(layers[1]) / 3


def test_what_makes_no_sense_warns_and_what_is_missing_fails(machine: Machine, oddities_image: str) -> None:
    """A map and groups that lie in the workspace are read."""
    ref = "localhost/other:1"
    machine.storage.run("podman", "tag", oddities_image, ref)
    absent = f"{machine.registry.address}/acme/absent"
    try:
        with pytest.raises(AssertionError, match="no tag of"):
            machine.run(ref=ref, prev_ref=absent, prev_ref_fail="1")
        write_rules(machine.workspace, "/xattrs", "/names")
        rules = {"map": "rechunk-map.tsv", "meta": "rechunk-groups.yml"}
        outputs, said = machine.run(
            ref=ref, prev_ref=absent, keep_ref="1", skip_compression="1", clear_plan="1", **rules
        )
        check_rules(json.loads(machine.storage.rechunk("inspect", outputs["ref"], "--json").out))
        assert "skip_compression" in said
        assert "`rechunk`" not in said
        assert machine.storage.run("podman", "image", "exists", ref, check=False).code == 0
        media_types = {layer["mediaType"] for layer in manifest_of(outputs["location"])[1]["layers"]}
        assert media_types == {"application/vnd.oci.image.layer.v1.tar"}
        assert outputs["version"].isdigit()
        assert len(outputs["version"]) == 6
    finally:
        machine.storage.run("podman", "untag", oddities_image, ref, check=False)


def test_a_bootable_image_and_a_plan_without_memory(machine: Machine, tmp_path: Path) -> None:
    """Its labels say that it is one; clear-plan forgets the layers of prev-ref, and not its version."""
    ref, published = "localhost/bootable:action", f"{machine.registry.address}/acme/bootable"
    prefix = "org.opencontainers.image."
    for number, clear in enumerate(("", "1")):
        bootable_image(machine.storage, ref, tmp_path / str(number))
        outputs, said = machine.run(ref=ref, prev_ref=published, version="1", clear_plan=clear)
        validate(outputs["ref"], strict=True).check()
        labels = config_of(outputs["location"])["config"]["Labels"]
        assert labels["containers.bootc"] == "1"
        assert labels["ostree.linux"] == "6.9.1"
        assert "ostree.commit" not in labels
        assert f"{prefix}title" not in labels
        assert outputs["version"] == labels[f"{prefix}version"] == ("1.1" if clear else "1")
        assert "/sysroot" in said
        history = json.dumps(config_of(outputs["location"])["history"])
        assert "rechunk-podman ledger" in history
        ledger = json.loads(machine.storage.rechunk("inspect", "--json", outputs["ref"]).out)["ledger"]
        assert len(ledger["releases"]) == 1
        copy = ("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false")
        tools.run(*copy, outputs["ref"], f"docker://{published}:latest")
