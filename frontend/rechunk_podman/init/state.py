"""The record of earlier runs in a repository, and the decision of a new run on each file.

The record is the JSON file STATE beside the files: the answers, and the digest of each file as it was
rendered. A file that was edited since then is not changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from enum import Enum
from typing import Any

from rechunk_podman.errors import RechunkError

STATE = ".rechunk-podman.json"
STATE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """The record of the last run. files: path -> digest of the text as it was rendered then."""

    template: str
    version: str
    answers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> State:
        """Parse the text of a State.

        Raises:
            RechunkError: the text is damaged, or of a newer format.
        """
        try:
            document: Any = json.loads(text)
            if document["format"] != STATE_FORMAT:
                raise RechunkError(
                    f"{STATE} is of format {document['format']}, this is an older rechunk-podman",
                    hint="update rechunk-podman",
                )
            answers, files = document["answers"], document["files"]
            found = cls(str(document["template"]), str(document["version"]), dict(answers), dict(files))
            if not all(isinstance(value, str) for value in (*found.answers.values(), *found.files.values())):
                raise TypeError("not text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RechunkError(
                f"{STATE} is damaged",
                context=[f"{type(error).__name__}: {error}"],
                hint="delete it: existing files are then left alone",
            ) from error
        return found

    def text(self) -> str:
        """Return the JSON document."""
        document = {
            "format": STATE_FORMAT,
            "version": self.version,
            "template": self.template,
            "answers": dict(self.answers),
            "files": dict(sorted(self.files.items())),
        }
        return json.dumps(document, indent=2) + "\n"


class Action(Enum):
    """The fate of a file; the value is its description for people."""

    CREATE = "new"
    UPDATE = "updated"
    OVERWRITE = "overwritten"
    SAME = "as it should be"
    EDITED = "yours now, left alone"
    FOREIGN = "was there before, left alone"
    DELETED = "you deleted it, left out"
    STALE = "no longer part of the template, left alone"

    @property
    def writes(self) -> bool:
        """True if the file is written."""
        return self in (Action.CREATE, Action.UPDATE, Action.OVERWRITE)


@dataclass(frozen=True, slots=True)
class Step:
    """The fate of one file.

    old: its content, None if it is absent. new: the rendered content, None for a STALE file.
    waiting: the file is not changed although its template has changed.
    """

    path: str
    action: Action
    old: bytes | None
    new: bytes | None
    waiting: bool = False

    def diff(self) -> str:
        """Return the change as a unified diff, "" if nothing is written."""
        if not self.action.writes:
            return ""
        old, new = ((data or b"").decode("utf-8", "replace") for data in (self.old, self.new))
        before = "/dev/null" if self.old is None else f"a/{self.path}"
        lines = unified_diff(old.splitlines(True), new.splitlines(True), before, f"b/{self.path}")
        ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
        return "".join(ended)


def digest(data: bytes) -> str:
    """Return the digest of a file as `State.files` records it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def decide(
    rendered: Mapping[str, str], found: Mapping[str, bytes | None], state: State | None, *, force: bool
) -> tuple[Step, ...]:
    """Return the step for each file, sorted by path.

    Args:
        found: the content at each rendered and each recorded path, None if the file is absent.
        state: the record of the last run, None for the first run.
        force: overwrite edited files, too.
    """
    remembered = {} if state is None else state.files
    steps = []
    for path in sorted({*rendered, *remembered}):
        old, known = found[path], remembered.get(path)
        if path not in rendered:
            if old is not None:
                steps.append(Step(path, Action.STALE, old, None))
            continue
        new = rendered[path].encode()
        if old == new:
            action = Action.SAME
        elif old is None:
            action = Action.CREATE if known is None or force else Action.DELETED
        elif known == digest(old):
            action = Action.UPDATE
        elif force:
            action = Action.OVERWRITE
        else:
            action = Action.FOREIGN if known is None else Action.EDITED
        left = action in (Action.EDITED, Action.DELETED)
        steps.append(Step(path, action, old, new, waiting=left and known != digest(new)))
    return tuple(steps)


def remember(
    template: str, version: str, answers: Mapping[str, str], steps: Iterable[Step], before: State | None
) -> State:
    """Return the record after the steps. An edited file keeps its digest and stays known as edited."""
    files = {}
    for step in steps:
        if step.action.writes or step.action is Action.SAME:
            files[step.path] = digest(step.new or b"")
        elif step.action in (Action.EDITED, Action.DELETED) and before is not None:
            files[step.path] = before.files[step.path]
    return State(template, version, dict(answers), files)
