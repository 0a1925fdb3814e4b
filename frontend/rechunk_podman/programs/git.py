"""git: the commits between two revisions."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from rechunk_podman.errors import UsageError
from rechunk_podman.programs.process import CommandError, run

log = logging.getLogger(__name__)

_REVISION = re.compile(r"[0-9A-Za-z][\w./@^~+-]{0,250}\Z", re.ASCII)
_FIELD, _RECORD = "\x1f", "\x1e"
_FORMAT = "%x1f".join(("%h", "%H", "%an", "%s")) + "%x1e"


class Commit(NamedTuple):
    """A commit; subject: the first line of its message."""

    short: str
    hash: str
    author: str
    subject: str


def commits(directory: str, old: str, new: str) -> tuple[Commit, ...]:
    """Return the commits (no merges) that `new` has and `old` lacks, newest first.

    Args:
        directory: a working tree or a bare repository.
        old, new: revisions from labels of images, not trusted.

    Raises:
        UsageError: a text is not a revision.
        CommandError: git failed: no repository, or a history that is too short to hold both.
        ToolError: git is not installed.
    """
    for revision in (old, new):
        if not _REVISION.match(revision) or ".." in revision:
            raise UsageError(
                f"not a revision: {revision!r}", hint="org.opencontainers.image.revision is a commit"
            )
    command = [
        "git",
        "-C",
        directory,
        "log",
        "--no-merges",
        "--no-color",
        f"--format={_FORMAT}",
        f"{old}..{new}",
        "--",
    ]
    text = run(command).stdout.decode("utf-8", "replace")
    found = []
    for record in text.split(_RECORD):
        fields = record.strip("\n").split(_FIELD)
        if len(fields) == 4:
            found.append(Commit(*fields))
    return tuple(found)


def commits_or_none(directory: str, old: str, new: str) -> tuple[Commit, ...] | None:
    """Return commits(), or None, with a warning, if the repository does not hold both revisions."""
    try:
        return commits(directory, old, new)
    except CommandError as error:
        said = [line for line in error.context if not line.startswith("command: ")] or [error.message]
        reason = next((line for line in said if line.startswith("fatal: ")), said[-1])
        log.warning("no commits from %s to %s: %s", old, new, reason.removeprefix("fatal: "))
        if any(word in reason for word in ("unknown revision", "bad object", "bad revision", "Invalid rev")):
            log.warning("a shallow clone does not hold them: actions/checkout needs fetch-depth: 0")
        elif "dubious ownership" in reason:
            log.warning("git config --global --add safe.directory %s, if you trust it", directory)
        return None
