"""`rechunk-podman init`: write the files that the repository of a derived image needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman import __version__
from rechunk_podman.cli.answers import Answers, ask
from rechunk_podman.cli.console import set_up_logging, write_line
from rechunk_podman.cli.options import command
from rechunk_podman.errors import UsageError


@command
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The repository; the current directory by default.")
    ] = Path(),
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="containerfile|github|gitlab|forgejo|tekton|just",
            help="The set of files.",
        ),
    ] = None,
    *,
    answers: Answers,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing: use defaults for options that are not given.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were there before, or that you changed.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; print the diff, and exit with 1 if there is one.")
    ] = False,
    migrate: Annotated[
        bool,
        typer.Option(
            "--migrate",
            help="Find chunkah, hhd-dev/rechunk and rpm-ostree in workflows, Justfile and Containerfile, and "
            "print a patch that puts rechunk-podman in their place.",
        ),
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="With --migrate: write the changes.")] = False,
) -> None:
    """Write the files that a repository of a derived image needs: Containerfile, workflow, Justfile.

    A later run, also of a newer rechunk-podman, updates the files that you did not change and leaves the
    others alone. Your answers are recorded in .rechunk-podman.json. Questions are asked on a terminal only.
    """
    set_up_logging(0)
    from rechunk_podman.cli import init_text
    from rechunk_podman.init.migrate import migrate as find_calls
    from rechunk_podman.init.run import plan
    from rechunk_podman.split.containerfile import templates

    if not directory.is_dir():
        raise UsageError(f"not a directory: {directory}", hint="mkdir it, or git clone")
    if apply and not migrate:
        raise UsageError("--apply goes with --migrate", hint="leave it out")
    if migrate:
        if template or force or diff:
            raise UsageError("--migrate goes with --apply alone", hint="init --migrate prints the patch")
        migration = find_calls(directory, version=__version__)
        if apply:
            migration.apply()
        else:
            sys.stdout.write(migration.patch())
        _write(init_text.migration_lines(migration, applied=apply))
        return
    terminal = not defaults and not diff and sys.stdin.isatty() and sys.stderr.isatty()
    scaffold = plan(
        directory,
        template,
        answers.given(),
        source=templates(),
        version=__version__,
        ask=ask if terminal else None,
        force=force,
    )
    if diff:
        sys.stdout.write("".join(step.diff() for step in scaffold.steps))
    else:
        scaffold.apply()
    _write(init_text.step_lines(scaffold, wrote=not diff))
    _write(init_text.hint_lines(scaffold, find_calls(directory, version=__version__)))
    if diff and scaffold.writes:
        raise typer.Exit(1)


def _write(lines: list[str]) -> None:
    """Write the lines to stderr: a diff or a patch may be on stdout."""
    for line in lines:
        write_line(line, error=True)
