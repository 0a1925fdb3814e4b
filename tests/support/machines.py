"""The machines that run the workflows of this repository, with stand-ins for what others provide."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rechunk_podman import __version__
from support import packages, tools, workflow
from support.ground import COSIGN, PASSWORD, contexts
from support.needs import require

CIBUILDWHEEL = """\
#!/bin/sh
# cibuildwheel --output-dir DIR [ARCHIVE]: a wheel of those built before, of this checkout or of an archive.
mkdir -p "$2"
archive=${3:-rechunk_podman-0}
archive=${archive##*/}
cp WHEELS/"${archive%-*}"-*.whl "$2"
"""

GH = """\
#!/bin/sh
# gh release create …: keeps the files, and says what it was asked.
here=$(dirname "$0")
printf '%s\\n' "$*" > "$here/asked"
mkdir "$here/assets"
while [ "$1" != -- ]; do
    if [ "$1" = --notes-file ]; then cp "$2" "$here/notes"; fi
    shift
done
shift
cp -- "$@" "$here/assets"
"""


class Machine:
    """The machines of one run on a copy of the checkout: artifacts go from job to job."""

    def __init__(
        self, temp: Path, repository: Path, machine: Mapping[str, str], wrapper: tuple[str, ...] = ()
    ) -> None:
        self.temp, self.machine, self.wrapper = temp, machine, wrapper
        self.clone = _copy_checkout(repository, temp / "clone")
        self.bin = temp / "bin"
        self.artifacts = temp / "artifacts"
        self.artifacts.mkdir(parents=True)
        workflow.write_sudo(self.bin, machine)
        self.program("cibuildwheel", CIBUILDWHEEL.replace("WHEELS", str(packages.wheels(repository))))
        self.program("gh", GH)
        self.outputs: dict[str, Any] = {}

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, _inputs: Mapping[str, str]) -> None:
        """setup-python: a Python to which packages can be added."""
        home = self.temp / "python"
        if not home.exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            (self.bin / "uv").symlink_to(Path(sys.executable).with_name("uv"))

    def syft(self, _inputs: Mapping[str, str]) -> None:
        syft = Path(sys.executable).with_name("syft")
        require(str(syft))
        (self.bin / "syft").unlink(missing_ok=True)
        (self.bin / "syft").symlink_to(syft)

    def upload(self, inputs: Mapping[str, str]) -> None:
        shutil.copytree(inputs["path"], self.artifacts / inputs["name"])

    def download(self, inputs: Mapping[str, str]) -> None:
        for folder in sorted(self.artifacts.glob(inputs.get("pattern", "*"))):
            shutil.copytree(folder, inputs["path"], dirs_exist_ok=True)

    def run(self, path: str, job: str, override: Mapping[str, str], **matrix: str) -> workflow.Runner:
        """Run a job of a workflow on a new machine; `override` has variables that are other here."""
        document = workflow.load(self.clone / ".github/workflows" / path)
        wanted = document["jobs"][job]
        temp = self.temp / f"{job}-{len(list(self.temp.iterdir()))}"
        temp.mkdir()
        context = contexts("0" * 40, 1, ref_name=f"v{__version__}", token="token")
        context["secrets"]["GITHUB_TOKEN"] = PASSWORD
        context["matrix"] = matrix
        context["runner"]["temp"] = str(temp)
        context["needs"] = {name: {"outputs": found} for name, found in self.outputs.items()}
        runner = workflow.Runner(
            self.clone,
            temp,
            self.machine,
            context,
            {
                "actions/checkout": lambda _inputs: None,
                "actions/setup-python": self.python,
                "actions/upload-artifact": self.upload,
                "actions/download-artifact": self.download,
                "anchore/sbom-action/download-syft": self.syft,
                "sigstore/cosign-installer": lambda _inputs: self.program("cosign", COSIGN),
            },
            (self.bin, self.temp / "python/bin"),
            self.wrapper,
        )
        env = {**document["env"], **wanted.get("env", {})}
        runner.run(wanted["steps"], env, override)
        steps = {step.get("name") for step in wanted["steps"] if _is_run(step, context)}
        assert set(runner.ran) == steps
        self.outputs[job] = {
            name: workflow.fill(text, runner.contexts) for name, text in wanted.get("outputs", {}).items()
        }
        return runner


def _is_run(step: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """Return True if the condition of a step holds."""
    return bool(workflow.evaluate(str(step.get("if", "true")), context))


def _copy_checkout(repository: Path, folder: Path) -> Path:
    """Copy the files that git knows, and a virtual environment that `make` finds to be complete."""
    listed = tools.run("git", "-C", repository, "ls-files", "--cached", "--others", "--exclude-standard").out
    for name in listed.splitlines():
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    venv = folder / ".venv"
    (venv / "bin").mkdir(parents=True)
    for path in (*Path(sys.prefix).glob("lib"), *Path(sys.prefix).glob("pyvenv.cfg")):
        (venv / path.name).symlink_to(path)
    for path in Path(sys.prefix, "bin").iterdir():
        (venv / "bin" / path.name).symlink_to(path)
    (venv / "bin/.dev").unlink(missing_ok=True)
    (venv / "bin/.dev").write_text("")
    return folder
