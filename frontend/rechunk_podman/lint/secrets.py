"""Secrets that builds left in images: private keys, tokens, logins. Findings never show the secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from rechunk_podman.lint.checks import Check, Facts, Finding, Severity, Subject
from rechunk_podman.lint.content import tokens_in

_SAMPLES = re.compile(
    r"(?:^|/)(?:tests?|testing|testdata|test[-_]data|fixtures|examples?|samples?|site-packages/.*/tests?|doc|docs)/",
    re.IGNORECASE,
)
"""Locations of keys that a distribution ships and that are the same for everybody."""

_NAMES = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|ACCESS_KEY)(?:$|_)", re.IGNORECASE
)
_HARMLESS = re.compile(r"(?:_FILE|_PATH|_DIR|_URL)\Z|\A(?:GPG|PYTHON_GET)", re.IGNORECASE)


def _found(subject: Subject, kinds_of: Callable[[Facts], tuple[str, ...]]) -> Iterator[Finding]:
    shown: set[tuple[str, tuple[str, ...]]] = set()
    for path, facts in subject.facts.items():
        kinds = kinds_of(facts)
        if kinds and path in subject.tree:
            shown.add((path, kinds))
            yield Finding(", ".join(kinds), (path,), Severity.NOTE if _SAMPLES.search("/" + path) else None)
    for layer, path, hidden in subject.buried:
        kinds = kinds_of(hidden)
        if kinds and (path, kinds) not in shown:
            shown.add((path, kinds))
            message = f"{', '.join(kinds)}, in layer {layer + 1}; an upper layer only hides it"
            yield Finding(message, (path,), Severity.NOTE if _SAMPLES.search("/" + path) else None)


def _keys(subject: Subject) -> Iterator[Finding]:
    yield from _found(subject, lambda facts: facts.keys)


def _tokens(subject: Subject) -> Iterator[Finding]:
    yield from _found(subject, lambda facts: facts.tokens)


def _config(subject: Subject) -> Iterator[Finding]:
    if subject.record is None:
        return
    config = subject.record.config
    for variable in config.config.get("Env") or ():
        name, _, value = variable.partition("=")
        kinds = tokens_in(value.encode("utf-8", "surrogateescape"))
        if kinds:
            yield Finding(f"{', '.join(kinds)} in the variable {name}")
        elif len(value) > 3 and _NAMES.search(name) and not _HARMLESS.search(name):
            yield Finding(f"the variable {name} has a value", severity=Severity.WARNING)
    for label, value in config.labels.items():
        if kinds := tokens_in(value.encode("utf-8", "surrogateescape")):
            yield Finding(f"{', '.join(kinds)} in the label {label}")
    for number, entry in enumerate(config.history, 1):
        text = f"{entry.created_by} {entry.comment}".encode("utf-8", "surrogateescape")
        if kinds := tokens_in(text):
            yield Finding(f"{', '.join(kinds)} in the history, entry {number} (a build argument?)")


CHECKS = (
    Check(
        "private-keys",
        Severity.ERROR,
        "no private keys",
        "Everybody who can pull the image has the key. Host keys are the same on all machines then.",
        "delete the key in the step that makes it (mount it: RUN --mount=type=secret …), and replace it "
        "wherever it was used; ssh host keys: rm /etc/ssh/ssh_host_*_key*, sshd-keygen makes new ones at "
        "boot",
        _keys,
    ),
    Check(
        "credentials",
        Severity.ERROR,
        "no tokens, passwords and logins",
        "Everybody who can pull the image can use them. A later RUN rm does not help: the lower layer has "
        "the file.",
        "revoke them; give them to the step by RUN --mount=type=secret … instead of COPY, ENV or ARG",
        _tokens,
    ),
    Check(
        "config-secrets",
        Severity.ERROR,
        "no secrets in the image's variables, labels and history",
        "The config and the history are public with the image; ENV and ARG both end up there.",
        "revoke them; give them to the step by RUN --mount=type=secret …, and to the container when it "
        "starts",
        _config,
    ),
)
