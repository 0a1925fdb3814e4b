"""Execute what `init` writes for GitLab, Forgejo and Tekton, for two architectures, twice.

Stand-ins: the machines that run the jobs, and the second architecture (the same files under another name).
All else is real: buildah and podman on a vfs storage, skopeo, pip, the registry and its password.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rechunk_podman.oci.validate.image import validate
from support import packages, tools, workflow
from support.ground import COSIGN, ONE_CGROUP, PASSWORD, USER, Ground, contexts, derived, new_ground
from support.pushing import small_tar
from support.rules import check_rules, write_rules
from support.tekton import run_task

ARCHITECTURES = ("amd64", "arm64")

#: Its exit code tells. buildah 1.28 loses what a command prints in chroot isolation when the machine is busy.
SMOKE = {"SMOKE_TEST": '. /etc/os-release && test "$PRETTY_NAME" = Small'}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folders = tmp_path_factory.mktemp("pipelines"), tmp_path_factory.mktemp("pipelines-storage")
    with new_ground(*folders, driver="vfs") as found:
        yield found


def import_base(ground: Ground, folder: Path, seed: int, arch: str) -> None:
    """Name a base image of an architecture: data of which a part has the seed, and this machine's shell."""
    archive = small_tar(folder / f"{seed}-{arch}.tar", seed)
    top = folder / f"{seed}-{arch}"
    (top / "etc").mkdir(parents=True)
    (top / "etc/os-release").write_text('PRETTY_NAME="Small"\n')
    listed = tools.run("ldd", "/bin/sh").out
    for path in ("/bin/sh", *re.findall(r"/\S+", listed)):
        (top / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, top / path[1:])
    tools.run("tar", "--append", "--file", archive, "--directory", top, ".")
    image = "localhost/pipeline:base"
    ground.storage.run("podman", "import", "--quiet", f"--arch={arch}", archive, image)


def pipeline(ground: Ground, folder: Path, template: str) -> Path:
    """The repository with the files of a template, a map and groups."""
    answers = {"image": "acme/" + template, "kind": "app", "base": "localhost/pipeline:base", "layers": "12"}
    derived(folder, template, **answers, registry=ground.registry.address, tag="stable")
    write_rules(folder, "/etc/os-release", "/opt/hello")
    return folder


def check_result(
    ground: Ground, name: str, number: int, architectures: tuple[str, ...] = ARCHITECTURES
) -> dict[str, set[str]]:
    """The tag names an index of all images, which map and groups shaped. Return their layers."""
    index = ground.raw(f"{name}:stable")
    assert index == ground.raw(f"{name}:stable.{number}")
    layers = {}
    for one in ground.json(f"{name}:stable")["manifests"]:
        arch = one["platform"]["architecture"]
        manifest = ground.raw(f"{name}:stable.{number}-{arch}")
        assert "sha256:" + hashlib.sha256(manifest).hexdigest() == one["digest"]
        check_rules(ground.inspect(f"{name}:stable.{number}-{arch}"))
        layers[arch] = {layer["digest"] for layer in ground.json(f"{name}@{one['digest']}")["layers"]}
    assert set(layers) == set(architectures)
    return layers


def check_update(first: Mapping[str, set[str]], second: Mapping[str, set[str]]) -> None:
    """The second images share most layers with the first."""
    for arch in ARCHITECTURES:
        assert 0 < len(second[arch] - first[arch]) < len(second[arch]) / 2


def write_cosign(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "cosign").write_text(COSIGN)
    (folder / "cosign").chmod(0o755)


class GitLab:
    """Runs jobs as GitLab's runner: variables, then the lines of `script` in one bash."""

    def __init__(self, ground: Ground, folder: Path, temp: Path, checkout: Path) -> None:
        self.ground, self.folder, self.checkout = ground, folder, checkout
        self.document: dict[str, Any] = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())
        self.bin = temp / "bin"
        write_cosign(self.bin)

    def run(self, job: str, number: int, **variables: str) -> str:
        """Run a job with variables of its own; return what it said."""
        environment = {
            **self.ground.machine,
            **packages.offline(self.checkout),
            "CI_COMMIT_BRANCH": "main",
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_SHA": "0" * 40,
            "CI_PIPELINE_IID": str(number),
            "CI_PROJECT_URL": "https://gitlab.example/acme/gitlab",
            "CI_REGISTRY_USER": USER,
            "CI_REGISTRY_PASSWORD": PASSWORD,
            "COSIGN_PRIVATE_KEY": "key",
        }
        for name, text in self.document["variables"].items():
            environment[name] = self.expand(text, environment)
        environment |= variables
        environment["RECHUNK_PODMAN"] = str(packages.wheel(self.checkout))
        environment["PATH"] = f"{self.bin}:/usr/bin:/bin:/usr/sbin:/sbin"
        lines = self.document[job]["script"]
        # One machine has all jobs, and the tool after the first.
        if (self.folder / ".rechunk/venv").exists():
            lines = [line for line in lines if line != "sh rechunk.sh install"]
        script = "\n".join(lines)
        done = tools.run(
            *(*ONE_CGROUP, "bash", "--norc", "-eo", "pipefail", "-c", script),
            cwd=self.folder,
            env=environment,
        )
        return done.out + done.err

    @staticmethod
    def expand(text: str, environment: Mapping[str, str]) -> str:
        """GitLab's "Where variables can be used": $NAME, and $$ for a dollar."""
        return re.sub(r"\$(\$|\w+)", lambda found: "$" if found[1] == "$" else environment[found[1]], text)


def test_gitlab_twice(ground: Ground, tmp_path: Path, repository: Path) -> None:
    folder = pipeline(ground, tmp_path / "repository", "gitlab")
    runner = GitLab(ground, folder, tmp_path / "machine", repository)
    assert runner.document["stages"] == ["build", "publish"]
    matrix = runner.document["build"]["parallel"]["matrix"]
    assert tuple(one["ARCH"] for one in matrix) == ARCHITECTURES
    results = []
    for number, seed in enumerate((1, 2), 1):
        for one in matrix:
            import_base(ground, tmp_path, seed, one["ARCH"])
            said = runner.run("build", number, **one)
            assert ("The previous image: none" in said) == (number == 1)
        runner.run("publish", number, **(SMOKE if number == 2 else {}))
        results.append(check_result(ground, "acme/gitlab", number))
    check_update(*results)
    digest = "sha256:" + hashlib.sha256(ground.raw("acme/gitlab:stable")).hexdigest()
    signed = (runner.bin / "signed").read_text().splitlines()
    assert signed[-1].endswith(f" {ground.registry.address}/acme/gitlab@{digest}")


def test_forgejo(ground: Ground, tmp_path: Path, repository: Path) -> None:
    """The same script as GitLab's, for one architecture. An image that fails its test is not promoted."""
    folder = pipeline(ground, tmp_path / "repository", "forgejo")
    document = workflow.load(folder / ".forgejo/workflows/build.yml")
    programs, temp = tmp_path / "bin", tmp_path / "runner"
    write_cosign(programs)
    temp.mkdir()

    def run(job: str, override: Mapping[str, str] | None = None, **matrix: str) -> None:
        context = {**contexts("0" * 40, 7, ref_name="main"), "matrix": matrix}
        runner = workflow.Runner(
            folder,
            temp,
            {**ground.machine, **packages.offline(repository)},
            context,
            {"actions/checkout": lambda _inputs: None},
            (programs,),
            ONE_CGROUP,
        )
        wanted = document["jobs"][job]
        own = {
            "RECHUNK_PODMAN": str(packages.wheel(repository)),
            "ARCHITECTURES": "amd64",
            **(override or {}),
        }
        runner.run(wanted["steps"], {**document["env"], **wanted.get("env", {})}, own)
        assert list(runner.ran) == [step["name"] for step in wanted["steps"]]

    matrix = document["jobs"]["build"]["strategy"]["matrix"]["include"]
    assert tuple(one["arch"] for one in matrix) == ARCHITECTURES
    import_base(ground, tmp_path, 1, "amd64")
    run("build", **matrix[0])
    with pytest.raises(AssertionError, match="step 'Smoke test': exit 3"):
        run("publish", {"SMOKE_TEST": "exit 3"})
    assert "stable" not in ground.tags("acme/forgejo")
    run("publish", SMOKE)
    check_result(ground, "acme/forgejo", 7, ("amd64",))
    assert "acme/forgejo@sha256:" in (programs / "signed").read_text()


def test_tekton(ground: Ground, tmp_path: Path) -> None:
    """From buildah's vfs storage to a layout; the next run keeps most layers; two images become one index."""
    folder = tmp_path / "repository"
    folder.mkdir()
    options = ("--image=acme/tekton", "--kind=app", f"--registry={ground.registry.address}", "--layers=12")
    tools.run(*tools.RECHUNK, "init", folder, "--template", "tekton", "--defaults", *options)
    rechunk, index = yaml.safe_load_all((folder / "tekton/rechunk.yaml").read_text())
    root = ground.storage.run("podman", "info", "--format", "{{.Store.GraphRoot}}").out.strip()
    name = f"{ground.registry.address}/acme/tekton"
    auth = tmp_path / "auth.json"
    login = ("skopeo", "login", "--tls-verify=false", "--authfile", auth, "--username", USER)
    tools.run(*login, "--password", PASSWORD, ground.registry.address)
    env = {**ground.machine, "REGISTRY_AUTH_FILE": str(auth), "RECHUNK_TLS_VERIFY": "false"}
    images, layers = [], []
    for arch, seed, previous in (("amd64", 1, ""), ("amd64", 2, "one"), ("arm64", 1, "")):
        work = tmp_path / f"work-{arch}-{seed}"
        work.mkdir()
        write_rules(work, "/etc/os-release", "/opt/part1")
        import_base(ground, work, seed, arch)
        values = {"params.IMAGE": "localhost/pipeline:base", "workspaces.storage.path": root}
        if previous:
            values["params.PREVIOUS"] = f"oci:{tmp_path}/work-{arch}-1/rechunked"
        digest = run_task(rechunk, work, env, values)
        validate(f"oci:{work}/rechunked").check()
        check_rules(json.loads(ground.storage.rechunk("inspect", f"oci:{work}/rechunked", "--json").out))
        ground.storage.rechunk("verify", "localhost/pipeline:base", f"oci:{work}/rechunked")
        copy = ("skopeo", "copy", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false")
        target = f"docker://{name}:{arch}-{seed}"
        tools.run(*copy, "--authfile", auth, f"oci:{work}/rechunked", target)
        manifest = ground.raw(f"acme/tekton:{arch}-{seed}")
        assert digest == "sha256:" + hashlib.sha256(manifest).hexdigest()
        layers.append({layer["digest"] for layer in ground.json(f"acme/tekton@{digest}")["layers"]})
        images.append(f"docker://{name}@{digest}")
    assert 0 < len(layers[1] - layers[0]) < len(layers[1]) / 2
    joined = run_task(
        index, tmp_path, env, {"params.IMAGES": images[1:], "params.PUSH": f"docker://{name}:latest"}
    )
    assert joined == "sha256:" + hashlib.sha256(ground.raw("acme/tekton:latest")).hexdigest()
