"""A wrong call prints an `error:` and a `hint:` line and no traceback; the exit code is 2."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RECHUNK = (sys.executable, "-m", "rechunk_podman")


def run(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ if path is None else {**os.environ, "PATH": path}
    command = [*RECHUNK, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["nonsense"], "no such command 'nonsense'", "rechunk-podman --help"),
        (["--nonsense"], "no such option: --nonsense", "rechunk-podman --help"),
        (["lint", "--nonsense"], "no such option: --nonsense", "rechunk-podman lint --help"),
        (["lint", "a", "b", "c"], "got unexpected extra argument(s) (c)", "rechunk-podman lint --help"),
        (["previous"], "missing argument 'docker://REPO'", "rechunk-podman previous --help"),
        (["lint"], "no image is named", "rechunk-podman lint IMG, or --list"),
        (
            ["lint", "oci:/none/there"],
            "no such file or directory: /none/there",
            "name an OCI layout, an",
        ),
        (["lint", "--fail-on", "never ever", "x"], "not a severity: 'never ever'", "--fail-on takes note,"),
        (["init", "/none/there", "--template", "just"], "not a directory: /none/there", "mkdir it, or git"),
        (
            ["init", "/", "--template", "just", "--signing", "key"],
            "the template just has no",
            "leave it out;",
        ),
        (["previous", "docker://127.0.0.1:1/x", "--pattern", "("], "--pattern is no regular", "for example"),
        (
            ["changelog", "a", "b", "--template", "/none"],
            "cannot read the template /none",
            "--template takes",
        ),
    ],
)
def test_a_wrong_call(arguments: list[str], error: str, hint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    first, *context, last = done.stderr.splitlines()
    assert first.startswith(f"error: {error}")
    assert last.startswith(f"hint: {hint}")
    assert all(line.startswith("  ") for line in context)


@pytest.mark.parametrize(
    ("arguments", "tool"),
    [
        (["previous", "docker://127.0.0.1:1/x"], "skopeo"),
        (["changelog", "docker://127.0.0.1:1/x:1", "docker://127.0.0.1:1/x:2"], "skopeo"),
        (["lint", "localhost/x"], "podman"),
        (["split", "localhost/x", "-t", "localhost/y"], "podman"),
    ],
)
def test_a_tool_that_is_missing(arguments: list[str], tool: str) -> None:
    done = run(*arguments, path="/none/there")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert tool in first
    assert last.startswith("hint: ")
    assert "Traceback" not in done.stderr


def test_no_arguments_are_a_question() -> None:
    done = run()
    assert done.returncode in (0, 2)
    assert "lint" in done.stdout
    assert "error:" not in done.stderr


def test_help_and_version_are_data() -> None:
    assert run("--version").stdout.startswith("rechunk-podman ")
    done = run("lint", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_looks_as_typer_makes_it_without_all_of_its_modules() -> None:
    program = (
        "import sys; {}; from rechunk_podman.cli import app; "
        "app.os._exit = lambda code: sys.stderr.write(' '.join(sys.modules)); app.main()"
    )
    for arguments in (["--help"], ["lint", "-h"], []):
        done, whole = (
            subprocess.run(
                [sys.executable, "-c", program.format(first), *arguments],
                env={**os.environ, "COLUMNS": "100"},
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            )
            for first in ("pass", "import rich.traceback, rich.markdown, typer.rich_utils")
        )
        assert done.stdout == whole.stdout
        assert "Usage" in done.stdout
        assert "numpy" not in done.stderr.split()
        assert "markdown_it" not in done.stderr.split()
        assert "markdown_it" in whole.stderr.split()
