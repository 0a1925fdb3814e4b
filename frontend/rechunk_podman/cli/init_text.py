"""The work of `init` as lines for people: files that are written, and calls of other rechunkers."""

from __future__ import annotations

from rechunk_podman import __version__
from rechunk_podman.init.migrate import Migration
from rechunk_podman.init.run import Scaffold
from rechunk_podman.init.state import Action


def step_lines(scaffold: Scaffold, *, wrote: bool) -> list[str]:
    """Return the action on each file.

    Args:
        wrote: False if a diff shows the files that would be written; they are left out.
    """
    lines = []
    for step in scaffold.steps:
        if step.action is not Action.SAME and (wrote or not step.action.writes):
            lines.append(f"{step.path}: {step.action.value}")
        if step.waiting or step.action is Action.FOREIGN:
            lines.append("  the template has another text: --diff --force shows it, --force takes it")
    if wrote and not scaffold.writes:
        lines.append("nothing to do")
    return lines


def hint_lines(scaffold: Scaffold, migration: Migration) -> list[str]:
    """Return a hint on the way from a repository's own files to those of the template, if there is one."""
    names = sorted({*(step.path for step in migration.steps), *(left.path for left in migration.left)})
    if names:
        return [
            f"another rechunker is called in {', '.join(names)}: `rechunk-podman init --migrate` shows "
            "a patch that replaces it"
        ]
    if any(step.action is Action.FOREIGN and step.path.startswith(".github/") for step in scaffold.steps):
        return ["your workflow stays: add the template's steps (docs/derived.md), or --force replaces it"]
    return []


def migration_lines(migration: Migration, *, applied: bool) -> list[str]:
    """Return the files that change, and the work that is left to do by hand."""
    lines = [f"{step.path}: {'changed' if applied else 'to change'}" for step in migration.steps]
    for left in migration.left:
        lines.append(f"{left.path}:{left.line}: change it by hand (docs/migrating.md): {left.text}")
    if migration.install:
        lines.append(
            "rechunk-podman has to be installed where these commands run: pipx install "
            f"git+https://github.com/rechunk-podman/rechunk-podman@v{__version__}"
        )
    if not migration.steps and not migration.left:
        lines.append("no step of another rechunker found")
    elif migration.steps and not applied:
        lines.append("nothing is written: --apply writes it, or pipe it to `git apply`")
    return lines
