"""Man pages, completions and the page of commands are those of the commands as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rechunk_podman.cli.app import COMMANDS
from support.needs import require

TOP = Path(__file__).parents[3]
MANUAL = sorted((TOP / "packaging/man").glob("*.1"))


def test_files_are_in_step_with_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "tools/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_each_command_has_a_man_page_and_a_section() -> None:
    assert {page.stem for page in MANUAL} == {
        "rechunk-podman",
        *(f"rechunk-podman-{name}" for name in COMMANDS),
    }
    headings = re.findall("^## (.*)$", (TOP / "docs/commands.md").read_text(), re.MULTILINE)
    assert headings == list(COMMANDS)


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.stem)
def test_groff_reads_a_man_page_without_a_warning(page: Path) -> None:
    require("groff")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", page], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in re.sub(".\x08", "", done.stdout)


def test_bash_completes_commands_and_options() -> None:
    """The file that the packages install, read by a real bash."""
    script = f"""
    source {TOP}/packaging/completions/bash/rechunk-podman
    COMP_WORDS=(rechunk-podman spl) COMP_CWORD=1
    _rechunk_podman_completion rechunk-podman
    echo "${{COMPREPLY[@]}}"
    COMP_WORDS=(rechunk-podman promote --tls) COMP_CWORD=2
    _rechunk_podman_completion rechunk-podman
    echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["split", "--tls-verify"]
