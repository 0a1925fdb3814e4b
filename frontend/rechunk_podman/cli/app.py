"""The commands of `rechunk-podman`, each from its module, behind one error boundary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

import typer

from rechunk_podman import __version__
from rechunk_podman.cli.console import guarded, set_up_logging
from rechunk_podman.errors import UsageError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "split": "split",
        "build": "build",
        "verify": "verify",
        "validate": "verify",
        "inspect": "inspect",
        "diff": "diff",
        "simulate": "simulate",
        "lint": "lint",
        "previous": "previous",
        "changelog": "changelog",
        "promote": "promote",
        "index": "index",
        "init": "init",
    }
)
"""Command, in the order of the help -> the module of cli/ that holds the function of its name."""


NAME = "rechunk-podman"

_WRONG_CALL: Any = typer.BadParameter.__base__
"""What every error of parsing is. Typer brings its own copy of Click or uses Click's, as its version will."""


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line; where the arguments begin with a command, with that one alone.

    A build starts in half the time where it does not load what the other commands need.
    """
    app = typer.Typer(
        name=NAME,
        help="Split a finished container image into content-based, reproducible, remembered layers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked or COMMANDS:
        module = import_module(f"rechunk_podman.cli.{COMMANDS[name]}")
        app.command(name)(getattr(module, name))
    return app


def main() -> NoReturn:
    """The console script's entry point."""
    guarded(lambda: run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> None:
    """Runs the command line.

    Raises:
        UsageError: there is no such command or option, or one is missing or takes something else.
        SystemExit: a command ended with an exit code of its own.
    """
    try:
        code = application(arguments)(list(arguments), prog_name=NAME, standalone_mode=False)
    except _WRONG_CALL as error:
        if not arguments:
            error.show()
            raise SystemExit(2) from error
        context = getattr(error, "ctx", None)
        message = " ".join(str(error.format_message()).split()).rstrip(".")
        raise UsageError(
            message[:1].lower() + message[1:], hint=f"{context.command_path if context else NAME} --help"
        ) from error
    if code:
        raise SystemExit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rechunk-podman {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Split a finished container image into content-based, reproducible, remembered layers."""
    set_up_logging(0)
