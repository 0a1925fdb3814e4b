"""Each hint that names an option or a command of ours names one that is there, where the error can occur."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import rechunk_podman
from rechunk_podman.cli.app import COMMANDS, application

PACKAGE = Path(rechunk_podman.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

FOREIGN = {"--privileged": "of podman run", "--all": "of skopeo copy", "--help": "of every command"}

REACHED = {
    "build/": ("build", "split"),
    "components/": ("build", "split"),
    "planning/": ("build", "split"),
    "oci/write/": ("build", "split"),
    "split/": ("split",),
    "lint/": ("lint",),
    "init/": ("init",),
    "publish/push.py": ("split",),
    "registry/answers.py": ("split", "previous", "inspect", "diff", "changelog", "promote", "index"),
    "rootfs/scan.py": ("build", "split"),
    "programs/buildah.py": ("split",),
}
"""Folder or module -> the commands in which its errors occur, all of which have the options in its hints."""

_OURS = re.compile(r"(?:^|`)rechunk-podman ([a-z]+)((?: [^\s`;,)]+)*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_FOREIGN_COMMAND = re.compile(r"`(?!rechunk-podman)[a-z]+ [^`]*`")


def hints() -> Iterator[tuple[str, str]]:
    """Yield module and text of each hint, {} in place of what is put in."""
    for module in MODULES:
        name = str(module.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                yield name, text_of(node.value)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(to, ast.Name) and to.id.lower().endswith("hint") for to in targets):
                    yield name, text_of(node.value)


def text_of(value: ast.expr) -> str:
    """Return the constants in an expression, in order."""
    constants = [node for node in ast.walk(value) if isinstance(node, ast.Constant)]
    constants.sort(key=lambda node: (node.lineno, node.col_offset))
    return "{}".join(node.value for node in constants if isinstance(node.value, str))


HINTS = sorted({(module, text) for module, text in hints() if "--" in text or _OURS.search(text)})


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(application())
    return {name: group.commands[name] for name in COMMANDS}


def spellings(command: Any) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def test_hints_are_found() -> None:
    assert len(HINTS) > 40


@pytest.mark.parametrize(("module", "text"), HINTS)
def test_options_of_a_hint_exist(commands: dict[str, Any], module: str, text: str) -> None:
    named = set(_OPTION.findall(_FOREIGN_COMMAND.sub("", text))) - FOREIGN.keys()
    stem = Path(module).stem
    reached = next((found for start, found in REACHED.items() if module.startswith(start)), ())
    if module.startswith("cli/commands/") and stem in commands:
        reached = (stem,)
    for name in named:
        users = {command for command in commands if name in spellings(commands[command])}
        assert users, f"{name}: no command has it"
        # a hint that names another command is about that one
        others = {other for other, _ in _OURS.findall(text)} | {c for c in commands if f"{c}: " in text}
        assert users >= set(reached) or users & others, f"{name}: not of {set(reached) - users}"


@pytest.mark.parametrize(("module", "text"), [hint for hint in HINTS if _OURS.search(hint[1])])
def test_commands_of_a_hint_can_be_called(commands: dict[str, Any], module: str, text: str) -> None:
    for name, arguments in _OURS.findall(text):
        assert name in commands, f"{module}: {name}"
        given = [word for word in arguments.split() if word.isupper() or word.startswith("-")]
        unknown = {word for word in given if word.startswith("--")} - spellings(commands[name])
        assert not unknown, f"{module}: {unknown}"
