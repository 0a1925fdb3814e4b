"""What a stranger meets: a wrong call is an `error:` and a `hint:` line, exit code 2 and no traceback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rechunk_podman import scaffold

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
        (["lint", "oci:/none/there"], "no such file or directory: /none/there", "name an OCI layout, or an"),
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


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    """Each question with its default; what is no answer is asked again; a second run asks nothing."""
    folder = tmp_path / "My Desktop"
    folder.mkdir()
    said = answer(["init", folder], b"just\nbad name\n\napp\n\n\n\n64\n")
    assert "What to copy in (containerfile, github, just) [github]: " in said
    assert "Name of the image [my-desktop]: " in said
    assert "not an answer to image: 'bad name': lower case letters" in said
    state = scaffold.State.parse((folder / scaffold.STATE).read_text())
    assert state.template == "just"
    assert state.answers == {
        "image": "my-desktop",
        "kind": "app",
        "base": "docker.io/library/debian:trixie-slim",
        "registry": "ghcr.io/example",
        "tag": "latest",
        "layers": "64",
    }
    assert answer(["init", folder], b"") == "nothing to do\n"


def answer(arguments: list[object], typed: bytes) -> str:
    """What a command says on a terminal, at which this is typed."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        os.write(ours, typed)
        command = [*RECHUNK, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        said = b""
        try:
            while chunk := terminal.read(4096):
                said += chunk
        except OSError:  # EIO: nobody has the other end any more
            pass
        assert process.wait(timeout=60) == 0, said
    return said.decode().replace("\r\n", "\n")
