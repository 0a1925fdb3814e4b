"""Execute the files of `init`: the workflow twice against a registry, the Justfile, the Containerfile.

Stand-ins: the runner (support.workflow), cosign (no package registry has it), and what `uses:` steps do.
All else is real: buildah, podman, skopeo, syft, pip, the registry and its password.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from images import debian
from rechunk_podman.oci.validate.image import validate
from support import chunker, linters, packages, tools, workflow
from support.ground import COSIGN, ONE_CGROUP, PASSWORD, USER, Ground, contexts, derived, new_ground
from support.needs import require
from support.pushing import small_tar
from support.rules import check_rules, write_rules


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folders = tmp_path_factory.mktemp("derived"), tmp_path_factory.mktemp("derived-storage")
    with new_ground(*folders) as found:
        yield found


@pytest.fixture(scope="module")
def bases(ground: Ground) -> tuple[str, str]:
    """Debian as released and with its updates."""
    require("mmdebstrap")
    one, two = (
        ground.storage.import_tar(debian.tar(moment), f"localhost/debian:{moment}")
        for moment in debian.MOMENTS
    )
    return one, two


class Hosted:
    """Runs the workflow of a repository, as often as one likes, on new runners."""

    def __init__(self, ground: Ground, folder: Path, temp: Path, checkout: Path) -> None:
        self.ground, self.folder, self.temp, self.checkout = ground, folder, temp, checkout
        self.artifacts: list[str] = []
        self.bin = temp / "bin"
        workflow.write_sudo(self.bin, ground.machine)
        self.number = 0

    def cosign(self, _inputs: Mapping[str, str]) -> None:
        (self.bin / "cosign").write_text(COSIGN)
        (self.bin / "cosign").chmod(0o755)

    def syft(self, _inputs: Mapping[str, str]) -> None:
        require(str(Path(sys.executable).with_name("syft")))
        (self.bin / "syft").unlink(missing_ok=True)
        (self.bin / "syft").symlink_to(Path(sys.executable).with_name("syft"))

    def upload(self, inputs: Mapping[str, str]) -> None:
        self.artifacts.append(Path(inputs["path"]).read_text())

    @property
    def signed(self) -> list[str]:
        file = self.bin / "signed"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, smoke_test: str | None = None, **github: Any) -> workflow.Runner:
        self.number += 1
        # One machine for all runs, which has pip's work to do only once.
        temp = self.temp / "runner"
        temp.mkdir(exist_ok=True)
        unneeded = temp / "unneeded"
        unneeded.mkdir()
        (unneeded / "large").write_text("x" * 1000)
        sha = tools.run("git", "-C", self.folder, "rev-parse", "HEAD").out.strip()
        context = contexts(sha, self.number, **github)
        context["runner"]["temp"] = str(temp)
        runner = workflow.Runner(
            self.folder,
            temp,
            {**self.ground.machine, **packages.offline(self.checkout)},
            context,
            {
                "actions/cache": lambda _inputs: None,  # the folder is there in the next run
                "actions/checkout": lambda _inputs: None,
                "actions/upload-artifact": self.upload,
                "anchore/sbom-action/download-syft": self.syft,
                "sigstore/cosign-installer": self.cosign,
            },
            (self.bin,),
            ONE_CGROUP,
        )
        document = workflow.load(self.folder / ".github/workflows/build.yml")
        override = {"RECHUNK_PODMAN": str(packages.wheel(self.checkout)), "UNNEEDED": str(unneeded)}
        if smoke_test is not None:
            override["SMOKE_TEST"] = smoke_test
        runner.run(document["jobs"]["build"]["steps"], document["env"], override)
        assert not unneeded.exists()
        return runner


def layers_of(manifest: Any) -> dict[str, int]:
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def digest_of(ground: Ground, reference: str) -> str:
    return "sha256:" + hashlib.sha256(ground.raw(reference)).hexdigest()


ORDER = (
    "Free disk space",
    "Install rechunk-podman",
    "Build",
    "Validate",
    "SBOM",
    "Reclaim space",
    "Log in",
    "Find the previous image",
    "Rechunk and push",
    "Sign",
    "Smoke test",
    "Promote",
)


def test_workflow_twice(ground: Ground, bases: tuple[str, str], tmp_path: Path, repository: Path) -> None:
    """Built, pushed, signed, tested, promoted; a week later with updates, only what changed is uploaded."""
    base = "localhost/debian:base"
    folder = derived(
        tmp_path / "desktop",
        "github",
        image="acme/desktop",
        kind="app",
        base=base,
        registry=ground.registry.address,
        tag="stable",
        layers="40",
        signing="keyless",
    )
    write_rules(folder, "/etc/os-release", "/opt/hello")
    hosted = Hosted(ground, folder, tmp_path, repository)
    ground.storage.run("podman", "tag", bases[0], base)

    first = hosted.run()
    assert [name for name in first.ran if name in ORDER] == list(ORDER)
    assert "none" in first.ran["Find the previous image"]
    one = digest_of(ground, "acme/desktop:stable")
    assert ground.tags("acme/desktop")[0] == "stable"
    assert all(f"{ground.registry.address}/acme/desktop@{one}" in line for line in hosted.signed)
    assert [line.split()[0] for line in hosted.signed] == ["sign", "attest"]
    assert {package["name"] for package in json.loads(hosted.artifacts[-1])["packages"]} > {"openssl", "perl"}

    ground.storage.run("podman", "tag", bases[1], base)
    before = ground.log_lines()
    # Its exit code tells: buildah 1.28 may lose what it prints.
    smoke_test = '. /etc/os-release && test "$ID" = debian'
    second = hosted.run(smoke_test, event_name="schedule", event={"schedule": "17 5 * * 1"})
    assert [name for name in second.ran if name in ORDER] == list(ORDER)
    assert f"docker://{ground.registry.address}/acme/desktop:stable" in second.ran["Find the previous image"]
    two = digest_of(ground, "acme/desktop:stable")
    assert two != one
    summary = (tmp_path / "runner/GITHUB_STEP_SUMMARY").read_text()
    assert summary.count("### Update: ") == 1, "the first image has none before it"
    assert f"{ground.registry.address}/acme/desktop@{two}" in summary
    assert re.search(r"^\| dpkg/openssl \| 3\.\S+ \| 3\.\S+ \|$", summary, re.MULTILINE)
    assert all(two in line for line in hosted.signed[2:])
    assert len(hosted.signed) == 4
    old, new = (layers_of(ground.json(f"acme/desktop@{digest}")) for digest in (one, two))
    changed = {digest: size for digest, size in new.items() if digest not in old}
    assert 0 < len(changed) < len(new) / 2
    assert ground.uploads(before) == len(changed) + 1  # and the config
    assert sum(changed.values()) < sum(new.values()) * 2 / 3
    labels = ground.json(f"acme/desktop@{two}", "--config")["config"]["Labels"]
    version = labels["org.opencontainers.image.version"]
    assert version.startswith("stable.")
    assert ground.tags("acme/desktop").count(version) == 1
    assert digest_of(ground, f"acme/desktop:{version}") == two
    assert labels["org.opencontainers.image.title"] == "desktop"
    assert labels["org.opencontainers.image.source"] == "https://github.example/acme/desktop"

    layout = tmp_path / "pushed"
    skopeo = (
        "skopeo",
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        f"--src-creds={USER}:{PASSWORD}",
    )
    tools.run(*skopeo, f"docker://{ground.registry.address}/acme/desktop@{two}", f"oci:{layout}")
    validate(f"oci:{layout}").check()
    check_rules(ground.inspect(f"acme/desktop@{two}"))
    ground.storage.rechunk("verify", "localhost/acme/desktop:built", f"oci:{layout}")


def test_justfile(ground: Ground, bases: tuple[str, str], tmp_path: Path) -> None:
    """Build, check and chunk on one's own machine, with podman's storage and nothing published."""
    folder = derived(
        tmp_path / "local", "just", image="tool", kind="app", base=bases[0], layers="12", tag="dev"
    )
    write_rules(folder, "/etc/os-release", "/opt/hello")
    just = (linters.program("just"), f"rechunk={sys.executable} -m rechunk_podman")
    recipes = ("build", "lint", "chunk", "verify", "inspect")
    done = tools.run(*just, *recipes, env=ground.machine, cwd=folder)
    assert "nothing found" in done.out or "warning" in done.out
    name = "localhost/tool:dev"
    assert len(ground.storage.inspect(name)["RootFS"]["Layers"]) <= 12  # type: ignore[index]
    check_rules(json.loads(ground.storage.rechunk("inspect", name, "--json").out))
    with ground.storage.mounted(name) as root:
        assert (root / "opt/hello/message").read_text() == "hello\n"
    before = ground.storage.inspect(name)["RootFS"]
    tools.run(*just, "build", "chunk", env=ground.machine, cwd=folder)
    assert ground.storage.inspect(name)["RootFS"] == before
    other = ground.storage.run(
        "podman", "import", "--quiet", small_tar(tmp_path / "other.tar", 77)
    ).out.strip()
    tools.run(*just, "clean", env=ground.machine, cwd=folder)
    assert ground.storage.run("podman", "image", "exists", other, check=False).code == 0
    ground.storage.run("podman", "rmi", other)
    assert ground.storage.run("podman", "image", "exists", name, check=False).code == 1


def test_containerfile_twice(
    ground: Ground, bases: tuple[str, str], tmp_path: Path, repository: Path
) -> None:
    """build.sh keeps the config of the base and, the second time, the layers of the image before."""
    chunker_image = chunker.provide(repository, ground.storage)
    base = "localhost/debian:trick"
    folder = derived(
        tmp_path / "trick",
        "containerfile",
        image="acme/trick",
        kind="app",
        base=base,
        registry=ground.registry.address,
        layers="40",
    )
    write_rules(folder, "/etc/os-release", "/opt/hello")
    environment = {**ground.machine, "CHUNKER": chunker_image, "PUSH": "1"}
    auth = ground.home / "auth.json"
    login = ("podman", "login", "--authfile", auth, "--username", USER, "--password", PASSWORD)
    tools.run(*login, ground.registry.address, env=ground.machine)
    environment["REGISTRY_AUTH_FILE"] = str(auth)
    manifests = []
    for image in bases:
        ground.storage.run("podman", "tag", image, base)
        done = tools.run("sh", folder / "build.sh", env=environment, cwd=tmp_path)
        assert ("no previous image" in done.err) == (image == bases[0])
        assert not (folder / ".rechunk").exists()
        manifests.append(ground.json("acme/trick:latest"))
        config = ground.json("acme/trick:latest", "--config")
        told = config["config"]
        assert told["Labels"]["org.opencontainers.image.title"] == "trick"
        assert "GREETING=hello world" in told["Env"]
        assert told["StopSignal"] == "SIGQUIT"
        root = ground.storage.inspect("localhost/acme/trick:latest")["RootFS"]
        assert config["rootfs"]["diff_ids"] == root["Layers"]  # type: ignore[index]
        with ground.storage.mounted("localhost/acme/trick:latest") as mounted:
            assert (mounted / "opt/hello/message").read_text() == "hello\n"
    check_rules(ground.inspect("acme/trick:latest"))
    old, new = map(layers_of, manifests)
    assert len(old.keys() & new.keys()) > len(new) / 2


@pytest.mark.parametrize("template", ["containerfile", "github"])
def test_bootable_containerfiles(
    ground: Ground, bases: tuple[str, str], template: str, tmp_path: Path, repository: Path
) -> None:
    """The base has no bootc: that line is changed, and the rest is as rendered."""
    folder = derived(tmp_path / "bootable", template, image="system", kind="bootc", base=bases[0])
    containerfile = folder / "Containerfile"
    text = containerfile.read_text()
    assert "RUN bootc container lint\n" in text
    containerfile.write_text(text.replace("RUN bootc container lint\n", "RUN true\n"))
    if template == "containerfile":
        environment = {**ground.machine, "CHUNKER": chunker.provide(repository, ground.storage), "FRESH": "1"}
        tools.run("sh", folder / "build.sh", env=environment)
        found = ground.storage.inspect("localhost/system:latest")
        labels, root = found["Labels"], found["RootFS"]
        assert isinstance(labels, dict)
        assert isinstance(root, dict)
        assert labels["containers.bootc"] == "1"
        assert 64 < len(root["Layers"]) <= 120
    else:
        build = (linters.program("just"), "build")
        tools.run(*build, env=ground.machine, cwd=folder)
        containerfile.write_text(text.replace("RUN bootc container lint\n", "NONSENSE x\n"))
        assert "NONSENSE" in tools.run(*build, env=ground.machine, cwd=folder, check=False).err.upper()
