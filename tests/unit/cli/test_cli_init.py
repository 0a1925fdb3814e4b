"""`init` as it is called: on a terminal and without one, once and again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from rechunk_podman.cli.app import application
from rechunk_podman.cli.console import report
from rechunk_podman.errors import RechunkError
from rechunk_podman.init.state import STATE, State

RECHUNK = (sys.executable, "-m", "rechunk_podman")


def invoke(*arguments, code=0):
    result = CliRunner().invoke(application(["init"]), ["init", *map(str, arguments)])
    if isinstance(result.exception, RechunkError):
        report(result.exception)
        assert result.exception.exit_code == code
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_init_then_update(tmp_path):
    """Untouched files follow the answers and the tool, edited ones stay."""
    options = (tmp_path, "--template", "just", "--defaults", "--kind", "app")
    out, _ = invoke(*options, "--diff", code=1)
    assert "+++ b/Justfile" in out
    assert list(tmp_path.iterdir()) == []
    invoke(*options)
    assert {path.name for path in tmp_path.iterdir()} == {"Containerfile", "Justfile", STATE}
    state = State.parse((tmp_path / STATE).read_text())
    assert state.answers["kind"] == "app"
    out, err = invoke(tmp_path, "--diff")
    assert (out, err) == ("", "")
    before = (tmp_path / "Containerfile").read_text() + "RUN mine\n"
    (tmp_path / "Containerfile").write_text(before)
    out, err = invoke(tmp_path, "--tag", "stable", "--base", "quay.io/other/base:1", "--diff", code=1)
    assert '+tag := "stable"' in out
    assert "b/Containerfile" not in out
    _, err = invoke(tmp_path, "--tag", "stable", "--base", "quay.io/other/base:1")
    assert "Justfile: updated" in err
    assert "Containerfile: yours now, left alone" in err
    assert "--force" in err
    assert (tmp_path / "Containerfile").read_text() == before
    assert 'tag := "stable"' in (tmp_path / "Justfile").read_text()
    _, err = invoke(tmp_path)
    assert "Containerfile: yours now" in err
    invoke(tmp_path, "--force")
    assert "quay.io/other/base:1" in (tmp_path / "Containerfile").read_text()


def test_existing_files_stay(tmp_path):
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    _, err = invoke(tmp_path, "--template", "containerfile", "--defaults")
    assert "Containerfile: was there before, left alone" in err
    assert (tmp_path / "Containerfile").read_text() == "FROM scratch\n"
    assert (tmp_path / "build.sh").stat().st_mode & 0o111
    state = json.loads((tmp_path / STATE).read_text())
    assert set(state["files"]) == {"build.sh"}


def test_wrong_calls(tmp_path):
    assert "no template is named" in invoke(tmp_path, code=2)
    assert "no template named" in invoke(tmp_path, "--template", "x", code=2)
    assert "no --signing" in invoke(tmp_path, "--template", "just", "--signing", "key", code=2)
    assert "not a directory" in invoke(tmp_path / "none", "--template", "just", code=2)
    assert "layers" in invoke(tmp_path, "--template", "just", "--defaults", "--layers", "0", code=2)
    assert list(tmp_path.iterdir()) == []


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    """Each question with its default; what is no answer is asked again; a second run asks nothing."""
    folder = tmp_path / "My Desktop"
    folder.mkdir()
    said = answer(["init", folder], b"just\nbad name\n\napp\n\n\n\n64\n")
    assert "What to copy in (containerfile, github, gitlab, forgejo, tekton, just) [github]: " in said
    assert "Name of the image [my-desktop]: " in said
    assert "not an answer to image: 'bad name': lower case letters" in said
    state = State.parse((folder / STATE).read_text())
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
    """Return the output of a command on a terminal, at which this is typed."""
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
