"""Runs the `run:` steps of a GitHub workflow or composite action, in order, as a runner would.

What GitHub provides is provided here: the contexts, the files that GITHUB_ENV and its kin name, bash. Steps
that use an action get what the caller says. Source: "Workflow syntax", "Contexts" and "Expressions" in
GitHub's docs; of expressions those operators and functions that our files use, anything else is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Value = str | bool | None

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(&&|\|\||==|!=|[!(),])|([A-Za-z_][A-Za-z0-9_.-]*))")
_EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def load(path: Path) -> dict[str, Any]:
    """A workflow or action; the key `on` stays text, since it has to be quoted."""
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Value:
    """The value of an expression (without ${{ }}); a context that has no such key gives None."""
    tokens = []
    place = 0
    text = expression.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match, f"not understood: {text[place:]!r} in {expression!r}"
        tokens.append(match[0].strip())
        place = match.end()
    value, rest = _either(tokens, contexts)
    assert not rest, f"not understood: {rest} in {expression!r}"
    return value


def fill(text: str, contexts: Mapping[str, Any]) -> str:
    """Text with its ${{ }} replaced."""
    return _EMBEDDED.sub(lambda match: as_text(evaluate(match[1], contexts)), text)


def as_text(value: Value) -> str:
    """Return a value as text, as GitHub makes it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _either(tokens: list[str], contexts: Mapping[str, Any]) -> tuple[Value, list[str]]:
    value, tokens = _both(tokens, contexts)
    while tokens[:1] == ["||"]:
        other, tokens = _both(tokens[1:], contexts)
        value = value or other
    return value, tokens


def _both(tokens: list[str], contexts: Mapping[str, Any]) -> tuple[Value, list[str]]:
    value, tokens = _equal(tokens, contexts)
    while tokens[:1] == ["&&"]:
        other, tokens = _equal(tokens[1:], contexts)
        value = other if value else value
    return value, tokens


def _equal(tokens: list[str], contexts: Mapping[str, Any]) -> tuple[Value, list[str]]:
    value, tokens = _one(tokens, contexts)
    while tokens[:1] in (["=="], ["!="]):
        operator = tokens[0]
        other, tokens = _one(tokens[1:], contexts)
        value = (value == other) is (operator == "==")
    return value, tokens


def _one(tokens: list[str], contexts: Mapping[str, Any]) -> tuple[Value, list[str]]:
    token, *rest = tokens
    if token == "!":
        value, rest = _one(rest, contexts)
        return not value, rest
    if token == "(":
        value, rest = _either(rest, contexts)
        assert rest[0] == ")"
        return value, rest[1:]
    if token.startswith("'"):
        return token[1:-1].replace("''", "'"), rest
    if token in ("true", "false"):
        return token == "true", rest
    if rest[:1] == ["("]:
        assert token == "format", f"function {token}"
        arguments = []
        while rest[0] != ")":
            value, rest = _either(rest[1:], contexts)
            arguments.append(as_text(value))
        return arguments[0].format(*arguments[1:]), rest[1:]
    found: Any = contexts
    for part in token.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    assert found is None or isinstance(found, (str, bool)), f"{token} is {found!r}"
    return found, rest


@dataclass
class Runner:
    """A machine that runs one job.

    temp: RUNNER_TEMP. path: folders in front of PATH. machine: environment of every process, as a machine's
    own configuration would have it. actions: `owner/name` -> what to do with the inputs of a step that uses
    it. wrapper: command that runs bash. ran: the names of the steps that ran, in order, and what each said.
    """

    workspace: Path
    temp: Path
    machine: Mapping[str, str]
    contexts: dict[str, Any]
    actions: Mapping[str, Callable[[Mapping[str, str]], None]] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    wrapper: tuple[str, ...] = ()
    ran: dict[str, str] = field(default_factory=dict)

    def run(self, steps: list[dict[str, Any]], env: Mapping[str, Any], override: Mapping[str, str]) -> None:
        """Runs steps; the first that fails raises AssertionError with what it said.

        env: of the workflow, with expressions. override: variables of it that are other here.
        """
        variables = {key: fill(as_yaml_text(value), self.contexts) for key, value in env.items()}
        variables.update(override)
        self.contexts["env"] = variables
        outputs = self.contexts.setdefault("steps", {})
        for step in steps:
            condition = as_yaml_text(step.get("if", "true"))
            if not evaluate(condition.removeprefix("${{").removesuffix("}}"), self.contexts):
                continue
            name = step.get("name") or step.get("id") or step["uses"]
            if "uses" in step:
                inputs = {
                    k: fill(as_yaml_text(v), self.contexts) for k, v in (step.get("with") or {}).items()
                }
                self.actions["/".join(step["uses"].partition("@")[0].split("/"))](inputs)
                self.ran[name] = ""
                continue
            own = {k: fill(as_yaml_text(v), self.contexts) for k, v in (step.get("env") or {}).items()}
            found = self._bash(name, fill(step["run"], self.contexts), {**variables, **own}, variables)
            if "id" in step:
                outputs[step["id"]] = {"outputs": found}

    def _bash(
        self, name: str, script: str, env: Mapping[str, str], variables: dict[str, str]
    ) -> dict[str, str]:
        files = {key: self.temp / key for key in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")}
        for key, file in files.items():
            if key != "GITHUB_STEP_SUMMARY" or not file.exists():
                file.write_text("")
        source = self.temp / "step.sh"
        source.write_text(script)
        github = self.contexts["github"]
        environment = {
            **{key: value for key, value in os.environ.items() if key in ("LANG", "LC_ALL")},
            **{k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))},
            **self.machine,
            "PATH": ":".join([*map(str, self.path), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_SHA": github["sha"],
            "GITHUB_RUN_NUMBER": github["run_number"],
            "RUNNER_TEMP": str(self.temp),
            **{key: str(file) for key, file in files.items()},
            **env,
        }
        done = subprocess.run(
            [*self.wrapper, "bash", "--noprofile", "--norc", "-eo", "pipefail", str(source)],
            cwd=self.workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"step {name!r}: exit {done.returncode}\n{script}\n{done.stdout[-6000:]}"
        self.ran[name] = done.stdout
        variables.update(assignments(files["GITHUB_ENV"].read_text()))
        return assignments(files["GITHUB_OUTPUT"].read_text())


def as_yaml_text(value: Any) -> str:
    """A scalar as GitHub reads it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def assignments(text: str) -> dict[str, str]:
    """Return what a step wrote into GITHUB_ENV or GITHUB_OUTPUT: NAME=VALUE, or NAME<<WORD … WORD."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, heredoc, word = line.partition("<<")
        if heredoc and "=" not in name:
            value = []
            for inner in lines:
                if inner == word:
                    break
                value.append(inner)
            found[name] = "\n".join(value)
        elif line:
            name, equals, rest = line.partition("=")
            assert equals, line
            found[name] = rest
    return found


SUDO = """\
#!/bin/sh
# As a runner's sudo: nothing of the caller's environment but what is named, and a path of its own.
kept=
while :; do
    case $1 in
    --preserve-env=*) kept=$(printf %s "${1#*=}" | tr , ' '); shift ;;
    -*) echo "sudo: $1 is not understood here" >&2; exit 1 ;;
    *) break ;;
    esac
done
settings=
for name in MACHINE_NAMES $kept; do
    eval "value=\\${$name-}"
    [ -z "$value" ] || settings="$settings $name=$value"
done
# shellcheck disable=SC2086
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $settings "$@"
"""


def write_sudo(folder: Path, machine: Mapping[str, str]) -> None:
    """A `sudo` that keeps the machine's own configuration and nothing else. The tests run as root."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sudo"
    file.write_text(SUDO.replace("MACHINE_NAMES", " ".join(machine)))
    file.chmod(0o755)
