"""Render the files of a template for a repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from rechunk_podman.errors import UsageError
from rechunk_podman.init.questions import SCHEDULES, questions


def render(template: str, answers: Mapping[str, str], *, version: str, source: Path) -> dict[str, str]:
    """Return the files of a template: path in the repository -> text, sorted by path.

    Args:
        answers: the answers to `questions(template)`.
        version: the version of rechunk-podman that the files pin.
        source: the folder of templates, which contains `derived`.

    Raises:
        UsageError: there is no such template, or an answer is missing or malformed.
    """
    values = {}
    for question in questions(template):
        if question.name not in answers:
            raise UsageError(f"no answer to {question.name}", hint=f"--{question.name}: {question.hint}")
        values[question.name] = question.check(answers[question.name])
    top = source / "derived"
    # GitHub's expressions and just use {{ }}.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(top),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (no HTML; answers are words, see Question)
    )
    schedule = values.get("schedule", "")
    context = {
        **values,
        "name": values["image"].rpartition("/")[2],
        "cron": SCHEDULES.get(schedule, schedule),
        "version": version,
        "template": template,
    }
    files = {}
    for path in sorted((top / template).rglob("*.j2")):
        name = path.relative_to(top).as_posix()
        target = name.removeprefix(f"{template}/").removesuffix(".j2")
        files[target] = environment.get_template(name).render(context)
    return files
