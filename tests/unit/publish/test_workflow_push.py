"""The step of the workflow that pushes, in the registry's bad minutes: its shell, with a tool that fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from rechunk_podman.init.templates import render
from rechunk_podman.split.containerfile import templates

ANSWERS = {
    "image": "acme/desktop",
    "kind": "bootc",
    "base": "quay.io/fedora/fedora-bootc:43",
    "registry": "ghcr.io/acme",
    "tag": "stable",
    "layers": "bootc",
    "signing": "none",
    "schedule": "weekly",
}

#: Fails as often as FAILURES says; then it does what matters to the step: it writes the digest.
TOOL = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$HERE/called"
echo >> "$HERE/count"
[ "$(wc -l < "$HERE/count")" -gt "$FAILURES" ] || exit 1
while [ "$1" != --digestfile ]; do shift; done
echo sha256:0123 > "$2"
"""


def push(here: Path, failures: int, **env: str) -> tuple[int, list[str], dict[str, str]]:
    """(exit code, the calls of the tool, the outputs of the step)."""
    text = render("github", ANSWERS, version="1", source=templates())[".github/workflows/build.yml"]
    steps = yaml.safe_load(text)["jobs"]["build"]["steps"]
    (script,) = (step["run"] for step in steps if step["name"] == "Rechunk and push")
    programs = {
        "rechunk": TOOL,
        "sudo": '#!/bin/sh\nexec "$@"\n',
        "sleep": '#!/bin/sh\necho >> "$HERE/slept"\n',
    }
    for name, content in programs.items():
        (here / name).write_text(content)
        (here / name).chmod(0o755)
    for name in ("output", "summary", "slept"):
        (here / name).write_text("")
    environment = {
        "PATH": f"{here}:{os.environ['PATH']}",
        "HERE": str(here),
        "FAILURES": str(failures),
        "RECHUNK": str(here / "rechunk"),
        "RUNNER_TEMP": str(here),
        "GITHUB_OUTPUT": str(here / "output"),
        "GITHUB_STEP_SUMMARY": str(here / "summary"),
        "GITHUB_RUN_NUMBER": "57",
        "GITHUB_SHA": "1" * 40,
        "IMAGE": "ghcr.io/acme/desktop",
        "TAG": "stable",
        "BUILT": "localhost/desktop:built",
        "MAX_LAYERS": "bootc",
        "DESCRIPTION": "a b",
        "PUBLIC_URL": "https://x/y",
        "PLAN_AFRESH": "false",
        "PREVIOUS": "docker://ghcr.io/acme/desktop:stable",
        "REGISTRY_AUTH_FILE": "/auth",
        **env,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    outputs = dict(line.split("=", 1) for line in (here / "output").read_text().splitlines())
    calls = (here / "called").read_text().split("split localhost/desktop:built")[1:]
    assert (here / "slept").read_text().count("\n") == len(calls) - 1
    return done.returncode, calls, outputs


@pytest.mark.parametrize("failures", [0, 2])
def test_it_tries_again_and_takes_the_digest_of_what_was_pushed(tmp_path: Path, failures: int) -> None:
    code, calls, outputs = push(tmp_path, failures)
    assert (code, len(calls)) == (0, failures + 1)
    assert outputs["digest"] == "sha256:0123"
    assert outputs["version"].endswith(".57")
    assert f"--push docker://ghcr.io/acme/desktop:{outputs['version']} " in calls[0]
    assert "--previous docker://ghcr.io/acme/desktop:stable " in calls[0]
    assert "--bootc" in calls[0]


def test_three_times_and_no_more(tmp_path: Path) -> None:
    code, calls, outputs = push(tmp_path, 3)
    assert (code, len(calls), outputs) == (1, 3, {})


@pytest.mark.parametrize("env", [{"PLAN_AFRESH": "true"}, {"PREVIOUS": ""}])
def test_a_plan_without_memory(tmp_path: Path, env: dict[str, str]) -> None:
    _, (call,), _ = push(tmp_path, 0, **env)
    assert "--fresh" in call
    assert "--previous" not in call


@pytest.mark.parametrize(("answer", "count"), [("false", 0), ("true", 1)])
def test_reports_are_attached_if_asked_for(tmp_path: Path, answer: str, count: int) -> None:
    _, calls, _ = push(tmp_path, 0, ATTACH_REPORT=answer)
    assert sum(" --attach " in f" {call} " for call in calls) == count
