"""The commands of `rechunk-podman`, each in its own module, with one error boundary for all."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Annotated, NoReturn

import typer

from rechunk_podman import __version__
from rechunk_podman.cli.console import guarded, set_up_logging, set_up_streams

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "split": "Split an image into content-based layers: into local storage, a registry or a file.",
        "build": "Write the files of a root filesystem as an image in content-based, reproducible layers.",
        "verify": "Prove that A and B hold the same files: type, content, mode, owner, "
        "xattrs, links, devices.",
        "validate": "Recompute every digest, size and diff_id of the images at PATH, "
        "and check how their tars are made.",
        "inspect": "Show an image's layers, their sizes and components, and the record in it "
        "for the next image.",
        "components": "List the components of an image: what they are, how large, "
        "and which files no source claims.",
        "diff": "Show what a client that has OLD downloads for NEW, layer by layer, and why.",
        "history": "Measure past releases of an image: which components each held, their sizes, and its "
        "own layers.",
        "simulate": "Replay release histories through the planner: what do clients download per update?",
        "lint": "Check an image for files that fail at boot, leak secrets or make updates large.",
        "previous": "Print the newest tag of a series in a registry: the previous image.",
        "changelog": "Write the changes from OLD to NEW: packages, the download, commits; in "
        "Markdown by default.",
        "promote": "Give an image in a registry more tags; it keeps its digest, and no layer is uploaded.",
        "index": "Push an index over images of several platforms, each as it is, with its own record.",
        "init": "Write the files that a repository of a derived image needs: Containerfile, "
        "workflow, Justfile.",
        "clean": "Remove what killed runs of this user left: directories, mounts, working "
        "containers, untagged images.",
    }
)
"""Command -> its summary, in the order of the help.

The function of this name in the module of this name is the command; its docstring begins with the summary.
"""

_ALONE = ("--help", "-h", "--version", "-V")
"""Options that need no command."""

_HELP = frozenset(("--help", "-h"))
_UNUSED = (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback"))
"""Modules, and a class of each, that typer's help imports for forms of help that this program has not."""

_GLOBAL = re.compile(r"(-v+|--verbose|--trace-logfile(=.*)?)\Z", re.DOTALL)

NAME = "rechunk-podman"


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the typer application with the commands that the arguments need: the first one, none, or all.

    A build starts in half the time if the modules of the other commands are not loaded, and so does the help:
    the summaries are enough for it.
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
        if arguments and arguments[0] in _ALONE:
            app.command(name, help=COMMANDS[name])(_nothing)
        else:
            module = import_module(f"rechunk_podman.cli.commands.{name}")
            app.command(name)(getattr(module, name))
    return app


def main() -> NoReturn:
    """Run the console script."""
    arguments = with_clean_all(command_first(sys.argv[1:]))
    # numpy's linear algebra, which is not used here, would start busy threads for each processor.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    set_up_streams()
    if not arguments or not _HELP.isdisjoint(arguments):
        load_help()
    try:
        guarded(lambda: application(arguments)(arguments, prog_name=NAME, standalone_mode=False))
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    # All files are closed already; skip the shutdown of the interpreter, which takes 0.1 seconds.
    logging.shutdown()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def command_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with chunkah's global options (-v, --trace-logfile FILE) behind the command."""
    rest = list(arguments)
    early: list[str] = []
    while rest and _GLOBAL.match(rest[0]):
        count = 2 if rest[0] == "--trace-logfile" else 1
        early += rest[:count]
        del rest[:count]
    return [*rest[:1], *early, *rest[1:]]


def with_clean_all(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--clean=all` for `--clean` without a list, which takes no other argument."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return ["--clean=all" if word == "--clean" else word for word in arguments[:end]] + list(arguments[end:])


def load_help() -> None:
    """Import typer's module for the help without the modules that it does not need here.

    They would take more time than all the rest of `--help`.
    """
    placeholders = {}
    for name, used in _UNUSED:
        if name not in sys.modules:
            placeholders[name] = ModuleType(name)
            setattr(placeholders[name], used, type(used, (), {}))
    sys.modules.update(placeholders)
    # another version of typer may need more: then it imports all of it later
    with suppress(ImportError):
        import_module("typer.rich_utils")
    for name in placeholders:
        del sys.modules[name]


def _nothing() -> None:
    """Stand for a command of which the help shows the summary alone."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rechunk-podman {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Split a finished container image into content-based, reproducible, remembered layers."""
    set_up_logging(0)
