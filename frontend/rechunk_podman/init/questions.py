"""The questions that templates of files ask, the form of their answers, and the default answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rechunk_podman.errors import UsageError

TEMPLATES: Mapping[str, str] = {
    "containerfile": "the layers are made while the image is built, in one's own Containerfile",
    "github": "Containerfile, GitHub workflow (build, check, rechunk, push, sign, test, promote), Justfile",
    "gitlab": "Containerfile, .gitlab-ci.yml and its script: two architectures, joined, signed, promoted",
    "forgejo": "the same as a workflow of Forgejo",
    "tekton": "Tasks that take and give an OCI layout, and join architectures",
    "just": "Containerfile and Justfile: builds on one's own machine alone",
}
"""Name of a template (a folder of templates/derived) -> its description."""

LAYERS = ("docker", "podman", "bootc", "podman-new")
SCHEDULES: Mapping[str, str] = {"daily": "17 5 * * *", "weekly": "17 5 * * 1", "monthly": "17 5 1 * *"}

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PART}(?:/{_PART})*"
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?::[0-9]{1,5})?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_CRON_FIELD = r"[0-9A-Z*][0-9A-Z*,/-]*"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of templates.

    text: the question. hint: the form of an answer, for people.
    words: the answers to offer.
    pattern: a regular expression that any other answer must match as a whole. It allows no character that
        is special in YAML, a shell or a Containerfile.
    templates: the templates that ask the question.
    """

    name: str
    text: str
    hint: str
    pattern: str = ""
    words: Sequence[str] = ()
    templates: frozenset[str] = frozenset(TEMPLATES)

    def check(self, answer: str) -> str:
        """Return the answer.

        Raises:
            UsageError: the answer is not one of the words and does not match the pattern.
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
        frozenset({"github", "forgejo"}),
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
    """Return the questions of a template, in order.

    Raises:
        UsageError: there is no such template.
    """
    if template not in TEMPLATES:
        raise UsageError(f"no template named {template!r}", hint=f"--template {'|'.join(TEMPLATES)}")
    return tuple(question for question in QUESTIONS if template in question.templates)


def default(name: str, answers: Mapping[str, str], *, folder: str, owner: str | None) -> str:
    """Return the default answer to a question.

    Args:
        answers: the answers to the questions before it.
        folder: the name of the repository by its remote, else by its directory.
        owner: the owner of the repository on GitHub; None if it is not on GitHub.
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
