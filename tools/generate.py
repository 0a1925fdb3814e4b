"""Writes the files that follow from the commands: the reference page, man pages, and completions of shells.

    python tools/generate.py            # writes them
    python tools/generate.py --check    # exit code 1 if a file is another one than would be written

Sources: man(7); man-pages(7) for the order of sections; typer.core for what an option is.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import typer
from typer.completion import get_completion_script
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from rechunk_podman.cli.app import COMMANDS, NAME, application

TOP = Path(__file__).resolve().parents[1]
PAGE = "docs/commands.md"
SHELLS = {"bash": NAME, "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}
"""Shell -> the name of the file with its completion, as the shell looks for it."""

EXIT_CODES = (
    ("0", "The work was done."),
    ("1", "The work failed, or the command found what it looks for (differences, findings)."),
    ("2", "The call was wrong."),
)


@dataclass(frozen=True)
class Option:
    """An option or argument. names: as the help writes them. panel: the heading that it stands below."""

    names: str
    help: str
    panel: str


@dataclass(frozen=True)
class Page:
    """A command. usage: the arguments, in one line. text: the rest of its docstring, in paragraphs."""

    name: str
    summary: str
    usage: str
    text: tuple[str, ...]
    options: tuple[Option, ...]


def pages() -> list[Page]:
    """Return all commands, in the order of the help."""
    group = cast(TyperGroup, get_command(application()))
    context = group.context_class(group, info_name=NAME)
    with context:
        return [page(name, group.commands[name], context) for name in COMMANDS]


def page(name: str, command: TyperCommand, parent: Any) -> Page:
    """Return what there is to say of a command."""
    context = command.context_class(command, info_name=name, parent=parent)
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")]
    return Page(
        name,
        COMMANDS[name],
        " ".join([NAME, name, *command.collect_usage_pieces(context)]),
        tuple(paragraphs[1:]),
        tuple(options(command.params, context)),
    )


def options(parameters: Sequence[Any], context: Any) -> Iterator[Option]:
    """Yield arguments and options that the help shows, in its order."""
    for parameter in parameters:
        if getattr(parameter, "hidden", False):
            continue
        # typer puts default and environment variable behind the help, as [default: …].
        record = parameter.get_help_record(context)
        panel = getattr(parameter, "rich_help_panel", None)
        if parameter.param_type_name == "option":
            names, text = record
            yield Option(names.replace("  ", " "), " ".join(text.split()), str(panel or "Options"))
        else:
            text = getattr(parameter, "help", None) or ""
            yield Option(str(parameter.make_metavar(context)), " ".join(text.split()), "Arguments")


def panels(found: Page) -> dict[str, list[Option]]:
    """Return the options by panel: arguments, those without a panel, then as the help has them."""
    by_panel: dict[str, list[Option]] = {"Arguments": [], "Options": []}
    for option in found.options:
        by_panel.setdefault(option.panel, []).append(option)
    return {panel: members for panel, members in by_panel.items() if members}


def reference(found: Sequence[Page]) -> str:
    """Return the page with all commands, as Markdown."""
    lines = [
        "# Commands",
        "",
        "This page is generated from the command line (`tools/generate.py`): it says what `--help` says.",
        "",
        "| command | |",
        "|---|---|",
        *(f"| [`{one.name}`](#{one.name}) | {_cell(one.summary)} |" for one in found),
        "",
        "Exit codes of all commands:",
        "",
        "| code | |",
        "|---|---|",
        *(f"| {code} | {text} |" for code, text in EXIT_CODES),
        "",
    ]
    for one in found:
        lines += [f"## {one.name}", "", one.summary, "", f"    {one.usage}", ""]
        for paragraph in one.text:
            lines += [_markdown(paragraph), ""]
        for panel, members in panels(one).items():
            lines += [f"| {panel.lower()} | |", "|---|---|"]
            lines += [f"| {_code(option.names)} | {_cell(option.help)} |" for option in members]
            lines.append("")
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return re.sub(r"([<>*_])", r"\\\1", text) if "`" not in text else text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def manual(one: Page) -> str:
    """Return the man page of a command, as roff."""
    title = f"{NAME}-{one.name}"
    lines = [
        *_head(title),
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(_lower(one.summary))}",
        ".SH SYNOPSIS",
        f".B {_roff(one.usage)}",
    ]
    if one.text:
        lines.append(".SH DESCRIPTION")
        for paragraph in one.text:
            lines += [".PP", _roff(paragraph)]
    for panel, members in panels(one).items():
        lines.append(f".SH {_roff(panel.upper())}")
        for option in members:
            lines += [".TP", f".B {_roff(option.names)}", _roff(option.help) or "\\&"]
    return "\n".join([*lines, *_exit_codes(), ".SH SEE ALSO", f".BR {_roff(NAME)} (1)", ""])


def overview(found: Sequence[Page]) -> str:
    """Return the man page of the whole."""
    group = get_command(application())
    lines = [
        *_head(NAME),
        ".SH NAME",
        f"{_roff(NAME)} \\- {_roff(_lower(group.help or ''))}",
        ".SH SYNOPSIS",
        f".B {_roff(NAME)}",
        "COMMAND [OPTIONS]",
        ".SH COMMANDS",
    ]
    for one in found:
        lines += [".TP", f".BR {_roff(f'{NAME}-{one.name}')} (1)", _roff(one.summary)]
    see = ", ".join(f"\\fB{tool}\\fR(1)" for tool in ("podman", "buildah", "skopeo"))
    return "\n".join([*lines, *_exit_codes(), ".SH SEE ALSO", see, ""])


def _head(title: str) -> list[str]:
    return [
        '.\\" Generated by tools/generate.py.',
        f'.TH {title.upper()} 1 "" {NAME} "User Commands"',
        ".nh",
        ".ad l",
    ]


def _exit_codes() -> list[str]:
    lines = [".SH EXIT STATUS"]
    for code, text in EXIT_CODES:
        lines += [".TP", f".B {code}", text]
    return lines


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].removesuffix(".")


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    escaped = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in escaped)
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def completion(shell: str) -> str:
    """Return the completion of a shell, which asks the command itself."""
    variable = f"_{NAME.replace('-', '_').upper()}_COMPLETE"
    script = get_completion_script(prog_name=NAME, complete_var=variable, shell=shell)
    return script.strip() + "\n"


def files() -> dict[str, str]:
    """Return all generated files: path from the top of the repository -> text."""
    found = pages()
    return {
        PAGE: reference(found),
        f"packaging/man/{NAME}.1": overview(found),
        **{f"packaging/man/{NAME}-{one.name}.1": manual(one) for one in found},
        **{f"packaging/completions/{shell}/{name}": completion(shell) for shell, name in SHELLS.items()},
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check name those that differ. Return the exit code."""
    differing = [
        path
        for path, text in files().items()
        if not (TOP / path).is_file() or (TOP / path).read_text() != text
    ]
    if arguments == ["--check"]:
        for path in differing:
            typer.echo(f"out of date: {path}; run: python tools/generate.py", err=True)
        return int(bool(differing))
    for path in differing:
        (TOP / path).parent.mkdir(parents=True, exist_ok=True)
        (TOP / path).write_text(files()[path])
        typer.echo(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
