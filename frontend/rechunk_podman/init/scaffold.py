"""Copy-in files for repositories of derived images: rendered, and updated without losing edits.

Nothing is asked and nothing printed here. What a run of `init` remembers is in STATE, a JSON file beside the
files it wrote: the answers, and the digest of each file as it was rendered.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.files import output_error, write_file

STATE = ".rechunk-podman.json"
STATE_FORMAT = 1

TEMPLATES: Mapping[str, str] = {
    "containerfile": "the layers are made while the image is built, in one's own Containerfile",
    "github": "Containerfile, GitHub workflow (build, check, rechunk, push, sign, test, promote), Justfile",
    "just": "Containerfile and Justfile: builds on one's own machine alone",
}
"""Name of a template (a folder of templates/derived) -> what it is."""

LAYERS = ("docker", "podman", "bootc", "podman-new")
SCHEDULES: Mapping[str, str] = {"daily": "17 5 * * *", "weekly": "17 5 * * 1", "monthly": "17 5 1 * *"}
FIRST_OF_MONTH = SCHEDULES["monthly"]

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PART}(?:/{_PART})*"
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?::[0-9]{1,5})?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_CRON_FIELD = r"[0-9A-Z*][0-9A-Z*,/-]*"


@dataclass(frozen=True, slots=True)
class Question:
    """One answer that templates need.

    pattern: what an answer has to match, whole; it holds nothing that YAML, a shell or a Containerfile would
    read as more than a word. words: what is offered; an answer that is none of them has to match pattern.
    templates: those that ask it.
    """

    name: str
    text: str
    hint: str
    pattern: str = ""
    words: Sequence[str] = ()
    templates: frozenset[str] = frozenset(TEMPLATES)

    def check(self, answer: str) -> str:
        """The answer, if it is one.

        Raises:
            UsageError: it is none.
        """
        if answer in self.words or (self.pattern and re.fullmatch(self.pattern, answer)):
            return answer
        raise UsageError(f"not an answer to {self.name}: {answer!r}", hint=self.hint)


QUESTIONS: tuple[Question, ...] = (
    Question("image", "Name of the image", "lower case letters, digits and . _ - /", _PATH),
    Question("kind", "Bootable system or application", "bootc or app", words=("bootc", "app")),
    Question(
        "base",
        "Image that it is built from",
        "an image with its registry: quay.io/fedora/fedora-bootc:43",
        rf"(?:{_HOST}/)?{_PATH}(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?",
    ),
    Question(
        "registry",
        "Registry (and path) that it is pushed to",
        "a host, and a path below it: ghcr.io/example",
        rf"{_HOST}(?:/{_PATH})?",
    ),
    Question("tag", "Tag that clients follow", "letters, digits, . _ -", _TAG),
    Question(
        "layers",
        "Number of layers, or profile",
        f"a number from 1 to 500, or one of {', '.join(LAYERS)}",
        "[1-9][0-9]?|[1-4][0-9][0-9]|500",
        LAYERS,
    ),
    Question(
        "signing",
        "Signatures by cosign",
        "keyless (by the workflow's identity), key (secret COSIGN_PRIVATE_KEY) or none",
        words=("keyless", "key", "none"),
        templates=frozenset({"github"}),
    ),
    Question(
        "schedule",
        "How often it is built",
        "daily, weekly, monthly, or five cron fields",
        " ".join([_CRON_FIELD] * 5),
        tuple(SCHEDULES),
        frozenset({"github"}),
    ),
    Question(
        "buildah",
        "Oldest buildah that builds it",
        "any (every version since 1.28), or 1.44 (which orders the stages by itself)",
        words=("any", "1.44"),
        templates=frozenset({"containerfile"}),
    ),
)


_DEFAULTS = {"kind": "bootc", "tag": "latest", "signing": "keyless", "schedule": "weekly", "buildah": "any"}


def questions(template: str) -> tuple[Question, ...]:
    """What a template asks, in order.

    Raises:
        UsageError: there is no such template.
    """
    if template not in TEMPLATES:
        raise UsageError(f"no template named {template!r}", hint=f"--template {'|'.join(TEMPLATES)}")
    return tuple(question for question in QUESTIONS if template in question.templates)


def default(name: str, answers: Mapping[str, str], *, folder: str, owner: str | None) -> str:
    """The answer where nobody gives one.

    Args:
        answers: those to the questions before it.
        folder: name of the repository's directory. owner: of the repository on GitHub, where it has one.
    """
    bootable = answers.get("kind", "bootc") == "bootc"
    match name:
        case "image":
            return "-".join(re.findall("[a-z0-9]+", folder.lower())) or "image"
        case "base":
            return "quay.io/fedora/fedora-bootc:43" if bootable else "docker.io/library/debian:trixie-slim"
        case "registry":
            return f"ghcr.io/{owner.lower()}" if owner else "ghcr.io/example"
        case "layers":
            return "bootc" if bootable else "docker"
        case _:
            return _DEFAULTS[name]


def render(template: str, answers: Mapping[str, str], *, version: str, source: Path) -> dict[str, str]:
    """The files of a template: path in the repository -> text, sorted.

    Args:
        answers: to each of questions(template). version: of the tool, which the files pin.
        source: the folder of templates (templates/derived lies in it).

    Raises:
        UsageError: an answer is missing or none.
    """
    values = {}
    for question in questions(template):
        if question.name not in answers:
            raise UsageError(f"no answer to {question.name}", hint=f"--{question.name}: {question.hint}")
        values[question.name] = question.check(answers[question.name])
    top = source / "derived"
    # Not {{ }}, which is the notation of GitHub's expressions and of just.
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
        "first_of_month": FIRST_OF_MONTH,
        "version": version,
        "template": template,
    }
    files = {}
    for path in sorted((top / template).rglob("*.j2")):
        name = path.relative_to(top).as_posix()
        target = name.removeprefix(f"{template}/").removesuffix(".j2")
        files[target] = environment.get_template(name).render(context)
    return files


@dataclass(frozen=True, slots=True)
class State:
    """What the last run remembers. files: path -> digest of the text as it was rendered then."""

    template: str
    version: str
    answers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> State:
        """Reads what text() writes.

        Raises:
            RechunkError: it is something else, or of a newer format.
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
        except (ValueError, KeyError, TypeError) as error:
            raise RechunkError(
                f"{STATE} is damaged",
                context=[f"{type(error).__name__}: {error}"],
                hint="delete it: existing files are then left alone",
            ) from error
        return found

    def text(self) -> str:
        """As a JSON document."""
        document = {
            "format": STATE_FORMAT,
            "version": self.version,
            "template": self.template,
            "answers": dict(self.answers),
            "files": dict(sorted(self.files.items())),
        }
        return json.dumps(document, indent=2) + "\n"


class Action(Enum):
    """What happens to a file, and why."""

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
        """Whether the file is written."""
        return self in (Action.CREATE, Action.UPDATE, Action.OVERWRITE)


@dataclass(frozen=True, slots=True)
class Step:
    """One file. old: what is there, None for nothing. new: as rendered, None for a stale one.

    waiting: the file is left alone, but the template has something new for it.
    """

    path: str
    action: Action
    old: bytes | None
    new: bytes | None
    waiting: bool = False

    def diff(self) -> str:
        """The change as a unified diff, empty if there is none."""
        if not self.action.writes:
            return ""
        old, new = ((data or b"").decode("utf-8", "replace") for data in (self.old, self.new))
        before = "/dev/null" if self.old is None else f"a/{self.path}"
        lines = unified_diff(old.splitlines(True), new.splitlines(True), before, f"b/{self.path}")
        ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
        return "".join(ended)


def digest(data: bytes) -> str:
    """As State.files has it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def decide(
    rendered: Mapping[str, str], found: Mapping[str, bytes | None], state: State | None, *, force: bool
) -> tuple[Step, ...]:
    """What to do with each file, sorted by path.

    Args:
        found: for each rendered and each remembered path: what is there, None for nothing.
        state: of the run before, None for the first.
        force: take the rendered text, whatever is there.
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
    """The state after the steps. An edited file keeps the digest it had, so that it stays known as edited."""
    files = {}
    for step in steps:
        if step.action.writes or step.action is Action.SAME:
            files[step.path] = digest(step.new or b"")
        elif step.action in (Action.EDITED, Action.DELETED) and before is not None:
            files[step.path] = before.files[step.path]
    return State(template, version, dict(answers), files)


def read(folder: Path, paths: Iterable[str]) -> dict[str, bytes | None]:
    """What lies at these paths below a folder; None for nothing.

    Raises:
        UsageError: a path leads out of the folder, by a symlink or by its name, or is no file.
    """
    return {path: _read(_inside(folder, path)) for path in paths}


def write(folder: Path, path: str, data: bytes) -> None:
    """Write a file whole or not at all, executable if it begins with `#!`; make the directories above it.

    Raises:
        UsageError: as read() does. RechunkError: it cannot be written.
    """
    target = _inside(folder, path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(str(target), error) from error
    write_file(target, data, executable=data.startswith(b"#!"))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _inside(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise UsageError(f"not a path in the repository: {path!r}")
    place = folder
    for number, part in enumerate(parts, 1):
        place = place / part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            break
        except NotADirectoryError as error:
            raise UsageError(f"{place.parent} is not a directory") from error
        if not (stat.S_ISREG(mode) if number == len(parts) else stat.S_ISDIR(mode)):
            raise UsageError(f"{place} is not what it should be", hint="a plain file, in plain directories")
    return folder.joinpath(*parts)
