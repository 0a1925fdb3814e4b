"""The commands that README and the pages show: each names a command of ours, with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from rechunk_podman.cli.app import COMMANDS, application

TOP = Path(__file__).parents[3]
PAGES = sorted((TOP / "README.md", *(TOP / "docs").glob("*.md")))

_BLOCK = re.compile(
    r"^```(?:sh|Dockerfile|yaml)\n(.*?)^```$|^((?:    (?! *[-*] )[^\n]*\n)+)", re.MULTILINE | re.DOTALL
)
_CALL = re.compile(r"(?:^|[\s;|&(])(?:rechunk-podman|chunkah) ((?:[^\n|;&<>`]|\\\n)*)")


def calls(page: Path) -> list[str]:
    """Return the arguments of each call in the blocks of a page."""
    found = []
    for block in _BLOCK.finditer(page.read_text()):
        text = (block[1] or block[2]).replace("\\\n", " ")
        found += [call[1].split(" #")[0].split("   ")[0].strip() for call in _CALL.finditer(text)]
    return [call for call in found if call]


CALLS = sorted({(page.name, call) for page in PAGES for call in calls(page)})


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(application())
    return {name: group.commands[name] for name in COMMANDS}


def test_calls_are_found() -> None:
    assert len([call for name, call in CALLS if name == "README.md"]) > 8
    assert len(CALLS) > 20


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_a_call_names_what_is_there(commands: dict[str, Any], page: str, call: str) -> None:
    words = shlex.split(re.sub(r"[\[\]…]", " ", call).replace('"$', "").replace("'", "").replace('"', ""))
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version"), page
        return
    assert words[0] in commands, page
    parameters = commands[words[0]].params
    known = {name for option in parameters for name in (*option.opts, *option.secondary_opts)}
    named = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-zA-Z]", word)}
    assert named <= known | {"--help"}, page
