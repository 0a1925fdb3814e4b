"""`rechunk-podman init`: copy-in files for the repository of a derived image."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman import __version__
from rechunk_podman.cli.console import set_up_logging, write_line
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.init.scaffold import Question, State, Step


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The repository; the current directory by default.")
    ] = Path(),
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="containerfile|github|just", help="What to copy in."),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the image.")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="bootc|app", help="A bootable system, or an application.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="What it is built from; pin it by digest.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="HOST/PATH", help="Where it is pushed to, such as ghcr.io/example.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="The tag that clients follow.")] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="N|PROFILE", help="How many layers, as --max-layers of split.")
    ] = None,
    signing: Annotated[
        str | None, typer.Option(metavar="keyless|key|none", help="Signatures by cosign (github).")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(metavar="daily|weekly|monthly|CRON", help="How often it is built (github)."),
    ] = None,
    buildah: Annotated[
        str | None, typer.Option(metavar="any|1.44", help="The oldest buildah to care for (containerfile).")
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing: what no option says is the default.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were there before, or that you changed.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Only show what would change; exit code 1 if something would.")
    ] = False,
) -> None:
    """Copy in what a repository of a derived image needs: Containerfile, workflow, Justfile.

    Run again, also with a newer rechunk-podman, it updates the files that you did not change and leaves the
    others alone; your answers are remembered in .rechunk-podman.json. Questions are asked on a terminal only.
    """
    set_up_logging(0)
    from rechunk_podman.init import scaffold
    from rechunk_podman.split.containerfile import templates

    if not directory.is_dir():
        raise UsageError(f"not a directory: {directory}", hint="mkdir it, or git clone")
    before = _state(directory)
    template = template or (None if before is None else before.template)
    ask = not defaults and not diff and sys.stdin.isatty() and sys.stderr.isatty()
    if template is None and ask:
        template = _ask(
            scaffold.Question("template", "What to copy in", "", words=tuple(scaffold.TEMPLATES)), "github"
        )
    if template is None:
        raise UsageError("no template is named", hint=f"--template {'|'.join(scaffold.TEMPLATES)}")
    questions = scaffold.questions(template)
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
    unasked = [name for name, value in given.items() if value and name not in {q.name for q in questions}]
    if unasked:
        others = [
            name for name in scaffold.TEMPLATES if unasked[0] in {q.name for q in scaffold.questions(name)}
        ]
        raise UsageError(
            f"the template {template} has no --{unasked[0]}",
            hint=f"leave it out; {' and '.join(others)} has it",
        )
    remembered = {} if before is None else before.answers
    answers = _answers(questions, given, remembered, directory, ask=ask)
    rendered = scaffold.render(template, answers, version=__version__, source=templates())
    paths = {*rendered, *(() if before is None else before.files)}
    steps = scaffold.decide(rendered, scaffold.read(directory, paths), before, force=force)
    if diff:
        text = "".join(step.diff() for step in steps)
        sys.stdout.write(text)
        _say(steps, writing=False)
        if any(step.action.writes for step in steps):
            raise typer.Exit(1)
        return
    state = scaffold.remember(template, __version__, answers, steps, before)
    for step in steps:
        if step.action.writes and step.new is not None:
            scaffold.write(directory, step.path, step.new)
    if state != before:
        scaffold.write(directory, scaffold.STATE, state.text().encode())
    _say(steps, writing=True)


def _state(directory: Path) -> State | None:
    from rechunk_podman.init import scaffold

    data = scaffold.read(directory, [scaffold.STATE])[scaffold.STATE]
    return None if data is None else scaffold.State.parse(data.decode("utf-8", "replace"))


def _answers(
    questions: tuple[Question, ...],
    given: Mapping[str, str | None],
    remembered: Mapping[str, str],
    directory: Path,
    *,
    ask: bool,
) -> dict[str, str]:
    """By option, else as remembered, else asked, else the default."""
    from rechunk_podman.init import scaffold

    folder, owner = directory.resolve().name, _owner(directory)
    answers: dict[str, str] = {}
    for question in questions:
        value = given.get(question.name) or remembered.get(question.name)
        if value is None:
            value = scaffold.default(question.name, answers, folder=folder, owner=owner)
            if ask:
                value = _ask(question, value)
        answers[question.name] = question.check(value)
    return answers


def _ask(question: Question, offered: str) -> str:
    while True:
        choice = f" ({', '.join(question.words)})" if question.words else ""
        answer = str(typer.prompt(question.text + choice, default=offered, err=True)).strip()
        try:
            return question.check(answer)
        except UsageError as error:
            write_line(f"{error.message}: {question.hint}", error=True)


def _owner(directory: Path) -> str | None:
    """Of the repository on GitHub that is the remote `origin`; None where there is none."""
    from rechunk_podman.programs.process import CommandError, run, which

    if which("git") is None:
        return None
    try:
        url = (
            run(["git", "-C", str(directory), "config", "--get", "remote.origin.url"]).stdout.decode().strip()
        )
    except CommandError:
        return None
    match = re.search(r"github\.com[:/]([A-Za-z0-9-]+)/", url)
    return None if match is None else match[1]


def _say(steps: tuple[Step, ...], *, writing: bool) -> None:
    """What becomes of each file: on stderr, since with --diff stdout is the diff."""
    from rechunk_podman.init.scaffold import Action

    for step in steps:
        if step.action is not Action.SAME and (writing or not step.action.writes):
            write_line(f"{step.path}: {step.action.value}", error=True)
        if step.waiting or step.action is Action.FOREIGN:
            write_line(
                "  the template has another text: --diff --force shows it, --force takes it", error=True
            )
    if writing and not any(step.action.writes for step in steps):
        write_line("nothing to do", error=True)
