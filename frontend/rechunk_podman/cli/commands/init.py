"""`rechunk-podman init`: write the files that the repository of a derived image needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman import __version__
from rechunk_podman.cli.console import set_up_logging, write_line
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.init.questions import Question
    from rechunk_podman.init.run import Scaffold


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The repository; the current directory by default.")
    ] = Path(),
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="containerfile|github|just", help="The set of files."),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the image.")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="bootc|app", help="A bootable system, or an application.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The base image; pin it by digest.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="HOST/PATH", help="The destination of pushes, such as ghcr.io/example."),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="The tag that clients follow.")] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="N|PROFILE", help="The number of layers, as --max-layers of split.")
    ] = None,
    signing: Annotated[
        str | None, typer.Option(metavar="keyless|key|none", help="Signatures by cosign (github).")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(metavar="daily|weekly|monthly|CRON", help="The times of builds (github)."),
    ] = None,
    buildah: Annotated[
        str | None,
        typer.Option(metavar="any|1.44", help="The oldest buildah that must build it (containerfile)."),
    ] = None,
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
    from rechunk_podman.init.run import plan
    from rechunk_podman.split.containerfile import templates

    if not directory.is_dir():
        raise UsageError(f"not a directory: {directory}", hint="mkdir it, or git clone")
    if apply and not migrate:
        raise UsageError("--apply goes with --migrate", hint="leave it out")
    if migrate:
        if template or force or diff:
            raise UsageError("--migrate goes with --apply alone", hint="init --migrate prints the patch")
        _migrate(directory, apply=apply)
        return
    terminal = not defaults and not diff and sys.stdin.isatty() and sys.stderr.isatty()
    given = {
        "image": image,
        "kind": kind,
        "base": base,
        "registry": registry,
        "tag": tag,
        "layers": layers,
        "signing": signing,
        "schedule": schedule,
        "buildah": buildah,
    }
    scaffold = plan(
        directory,
        template,
        given,
        source=templates(),
        version=__version__,
        ask=_ask if terminal else None,
        force=force,
    )
    if diff:
        sys.stdout.write("".join(step.diff() for step in scaffold.steps))
    else:
        scaffold.apply()
    _show(scaffold, wrote=not diff)
    _hint(scaffold)
    if diff and scaffold.writes:
        raise typer.Exit(1)


def _migrate(directory: Path, *, apply: bool) -> None:
    """Print the patch, or write the files; write the work that is left to stderr."""
    from rechunk_podman.init.migrate import migrate

    migration = migrate(directory, version=__version__)
    if apply:
        migration.apply()
    else:
        sys.stdout.write(migration.patch())
    for step in migration.steps:
        write_line(f"{step.path}: {'changed' if apply else 'to change'}", error=True)
    for left in migration.left:
        write_line(f"{left.path}:{left.line}: change it by hand (docs/migrating.md): {left.text}", error=True)
    if migration.install:
        write_line(
            "rechunk-podman has to be installed where these commands run: pipx install "
            f"git+https://github.com/rechunk-podman/rechunk-podman@v{__version__}",
            error=True,
        )
    if not migration.steps and not migration.left:
        write_line("no step of another rechunker found", error=True)
    elif migration.steps and not apply:
        write_line("nothing is written: --apply writes it, or pipe it to `git apply`", error=True)


def _hint(scaffold: Scaffold) -> None:
    """Write a hint on the way from a repository's own files to those of the template."""
    from rechunk_podman.init.migrate import migrate
    from rechunk_podman.init.state import Action

    migration = migrate(scaffold.directory, version=__version__)
    names = sorted({*(step.path for step in migration.steps), *(left.path for left in migration.left)})
    if names:
        write_line(
            f"another rechunker is called in {', '.join(names)}: `rechunk-podman init --migrate` shows "
            "a patch that replaces it",
            error=True,
        )
    elif any(step.action is Action.FOREIGN and step.path.startswith(".github/") for step in scaffold.steps):
        write_line(
            "your workflow stays: add the template's steps (docs/derived.md), or --force replaces it",
            error=True,
        )


def _ask(question: Question, offered: str) -> str:
    while True:
        choice = f" ({', '.join(question.words)})" if question.words else ""
        answer = str(typer.prompt(question.text + choice, default=offered, err=True)).strip()
        try:
            return question.check(answer)
        except UsageError as error:
            write_line(f"{error.message}: {question.hint}", error=True)


def _show(scaffold: Scaffold, *, wrote: bool) -> None:
    """Write the action on each file to stderr, because with --diff the diff is on stdout."""
    from rechunk_podman.init.state import Action

    for step in scaffold.steps:
        if step.action is not Action.SAME and (wrote or not step.action.writes):
            write_line(f"{step.path}: {step.action.value}", error=True)
        if step.waiting or step.action is Action.FOREIGN:
            write_line(
                "  the template has another text: --diff --force shows it, --force takes it", error=True
            )
    if wrote and not scaffold.writes:
        write_line("nothing to do", error=True)
