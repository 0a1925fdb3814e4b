"""action.yml: the inputs and outputs of hhd-dev/rechunk, and shell that gets them as data."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from support import linters

INPUTS = {
    *("ref", "prev-ref", "clear-plan", "prev-ref-fail", "max-layers", "skip_compression", "labels"),
    *("description", "version", "pretty", "rechunk", "keep-ref", "changelog", "git", "revision"),
    *("formatters", "meta", "map", "registry_auth_file"),
}
OUTPUTS = {"version", "ref", "location", "changelog", "manifest", "digest"}


@pytest.fixture(scope="module")
def action(repository):
    return yaml.safe_load((repository / "action.yml").read_text())


def test_inputs_and_outputs(action):
    assert set(action["inputs"]) == INPUTS
    assert set(action["outputs"]) == OUTPUTS
    assert {name for name, given in action["inputs"].items() if given.get("required")} == {"ref"}
    assert action["inputs"]["version"]["default"] == "<date>"


def test_each_input_reaches_the_shell(action, repository):
    """Each input is in the environment under its own name, and the shell uses it."""
    env = action["runs"]["steps"][-1]["env"]
    handed = {value for name, value in env.items() if name.startswith("INPUT_")}
    assert handed == {f"${{{{ inputs.{name} }}}}" for name in INPUTS}
    shell = (repository / "tools/action/rechunk").read_text()
    for name, value in env.items():
        if name.startswith("INPUT_"):
            assert value == f"${{{{ inputs.{name[6:].lower()} }}}}" or "-" in value
            assert name in shell, name


def test_each_output_is_written(action, repository):
    shell = (repository / "tools/action/rechunk").read_text()
    for name, output in action["outputs"].items():
        assert output["value"] == f"${{{{ steps.rechunk.outputs.{name} }}}}"
        assert re.search(rf'echo "{name}=', shell)


def test_no_expression_in_a_script(action):
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]


@pytest.mark.parametrize(
    "ref", ["localhost/system:40", "localhost/system_40", "system_40@", "", "localhost/", ".."]
)
def test_a_folder_with_the_name_of_the_image_stays(repository, tmp_path, ref):
    """The result goes to the workspace under the name of the image; the check comes before any tool runs."""
    folder = tmp_path / "system_40"
    folder.mkdir()
    (folder / "file").write_text("of the repository")
    (tmp_path / "system_40_").mkdir()
    env = {"RUNNER_TEMP": "/nonexistent", "GITHUB_WORKSPACE": str(tmp_path), "INPUT_REF": ref, "PATH": ""}
    command = ["/bin/bash", repository / "tools/action/rechunk"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("::error::")
    assert (folder / "file").read_text() == "of the repository"


def test_linters(repository):
    linters.actionlint(repository / "action.yml")
    linters.check("yamllint", "--strict", "-d", linters.YAML_RULES, repository / "action.yml")
    linters.check("check-jsonschema", "--builtin-schema", "vendor.github-actions", repository / "action.yml")
    linters.check("shellcheck", *sorted((repository / "tools/action").iterdir()))


def test_each_input_and_output_is_explained(repository):
    """docs/migrating.md says of each what became of it."""
    text = (repository / "docs/migrating.md").read_text()
    section = text[text.index("## hhd-dev/rechunk") : text.index("## rpm-ostree")]
    told = set(re.findall(r"`([a-z_-]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE))))
    assert told >= INPUTS | OUTPUTS
