"""Copy files into a repository of a derived image, or update them without losing edits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.init import repository
from rechunk_podman.init.questions import TEMPLATES, Question, default, questions
from rechunk_podman.init.state import STATE, State, Step, decide, remember
from rechunk_podman.init.templates import render
from rechunk_podman.programs.process import CommandError, run, which

Ask = Callable[[Question, str], str]
"""Ask a question, offer an answer, return a checked answer."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The work of one run. before: the record of the last run, None for the first. state: the new record."""

    directory: Path
    steps: tuple[Step, ...]
    before: State | None
    state: State

    @property
    def writes(self) -> bool:
        """True if a file is created, updated or overwritten."""
        return any(step.action.writes for step in self.steps)

    def apply(self) -> None:
        """Write the files, then the record.

        Raises:
            RechunkError: a file cannot be written. No file is half written.
        """
        for step in self.steps:
            if step.action.writes and step.new is not None:
                repository.write(self.directory, step.path, step.new)
        if self.state != self.before:
            repository.write(self.directory, STATE, self.state.text().encode())


def plan(
    directory: Path,
    template: str | None,
    given: Mapping[str, str | None],
    *,
    source: Path,
    version: str,
    ask: Ask | None = None,
    force: bool = False,
) -> Scaffold:
    """Decide what to do with each file; write nothing.

    An answer is the given one, else the recorded one, else that of `ask`, else the default.

    Args:
        directory: the repository.
        template: None takes the recorded one, else that of `ask`.
        given: name of a question -> answer, None for no answer.
        source, version: as `render()` takes them.
        ask: None asks nothing.
        force: as `decide()` takes it.

    Raises:
        UsageError: no template is named, or an answer is malformed or not for this template.
        RechunkError: the record is damaged.
    """
    data = repository.read(directory, [STATE])[STATE]
    before = None if data is None else State.parse(data.decode("utf-8", "replace"))
    template = template or (None if before is None else before.template)
    if template is None and ask is not None:
        template = ask(Question("template", "What to copy in", "", words=tuple(TEMPLATES)), "github")
    if template is None:
        raise UsageError("no template is named", hint=f"--template {'|'.join(TEMPLATES)}")
    _refuse_foreign(template, given)
    answers = _answers(directory, template, given, {} if before is None else before.answers, ask)
    rendered = render(template, answers, version=version, source=source)
    paths = {*rendered, *(() if before is None else before.files)}
    steps = decide(rendered, repository.read(directory, paths), before, force=force)
    return Scaffold(directory, steps, before, remember(template, version, answers, steps, before))


def _refuse_foreign(template: str, given: Mapping[str, str | None]) -> None:
    names = {name: {question.name for question in questions(name)} for name in (template, *TEMPLATES)}
    for option, value in given.items():
        if value and option not in names[template]:
            others = [name for name in TEMPLATES if option in names[name]]
            raise UsageError(
                f"the template {template} has no --{option}",
                hint=f"leave it out; {' and '.join(others)} has it",
            )


def _answers(
    directory: Path,
    template: str,
    given: Mapping[str, str | None],
    recorded: Mapping[str, str],
    ask: Ask | None,
) -> dict[str, str]:
    origin = remote(directory)
    folder = directory.resolve().name if origin is None else origin.name
    owner = None if origin is None else origin.owner
    answers: dict[str, str] = {}
    for question in questions(template):
        value = given.get(question.name) or recorded.get(question.name)
        if value is None:
            value = default(question.name, answers, folder=folder, owner=owner)
            if ask is not None:
                value = ask(question, value)
        answers[question.name] = question.check(value)
    return answers


@dataclass(frozen=True, slots=True)
class Remote:
    """The repository that is the remote `origin`. owner: None if it is not on GitHub."""

    name: str
    owner: str | None


def remote(directory: Path) -> Remote | None:
    """Return the remote `origin` of a git repository; None if there is none."""
    if which("git") is None:
        return None
    try:
        url = run(["git", "-C", str(directory), "config", "--get", "remote.origin.url"]).text.strip()
    except CommandError:
        return None
    match = re.search(r"github\.com[:/]([A-Za-z0-9-]+)/", url)
    name = re.split("[/:]", url.rstrip("/"))[-1].removesuffix(".git")
    return Remote(name, None if match is None else match[1]) if name else None
