"""Find the steps of other rechunkers in a repository, and plan the changes that replace them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rechunk_podman.init import repository
from rechunk_podman.init.state import Action, Step
from rechunk_podman.init.tools import OURS, RULES, USED

PATTERNS = (
    *(".github/workflows/*.yml", ".github/workflows/*.yaml", ".github/actions/*/action.yml"),
    *("Justfile", "justfile", ".justfile", "*.just", "Makefile", "*.sh"),
    *("Containerfile", "Containerfile.*", "*.Containerfile", "Dockerfile", "Dockerfile.*"),
)
"""Patterns of files. One with a slash is matched from the top, another in every folder."""

READ_ONLY = ("*.yml", "*.yaml")
"""Patterns of other files, which may name an image by its digest: their lines are left to the user."""

MAX_FILE = 1 << 20
"""The largest file that is read, in bytes. Larger files are not scripts."""

MAX_FOLDERS = 2000
_SKIPPED = {".git", "node_modules", ".venv", "target"}

_INSTALL = """\
- name: Install rechunk-podman
  run: |
    needed="buildah gcc libattr1-dev python3-dev python3-venv skopeo"
    sudo apt-get update
    # shellcheck disable=SC2086
    sudo apt-get install --yes --no-install-recommends $needed
    sudo python3 -m venv /opt/rechunk-podman
    sudo /opt/rechunk-podman/bin/pip install --quiet \\
        'rechunk-podman @ git+https://github.com/rechunk-podman/rechunk-podman@v{version}'
    sudo ln -s /opt/rechunk-podman/bin/rechunk-podman /usr/local/bin/rechunk-podman

"""
_STEP = re.compile(r"^( *)- (?:name|uses|run|id|if|env|shell|with|working-directory):", re.MULTILINE)
_RECIPE = re.compile(r"^@?([A-Za-z_][\w-]*)(?![\w-]|[ \t]*[:?+]?=)[^\n]*?:(?!=)", re.MULTILINE)
_ON_HOST = re.compile(rf"\b{OURS} (?:split|build --rootfs)\b")


@dataclass(frozen=True, slots=True)
class Left:
    """A line that calls another rechunker and has to be changed by hand. line: counted from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Migration:
    """The work of one run.

    steps: the files that change. left: lines to change by hand. install: recipes call rechunk-podman, and
    nothing in the repository installs it there.
    """

    directory: Path
    steps: tuple[Step, ...]
    left: tuple[Left, ...]
    install: bool

    def patch(self) -> str:
        """Return the changes as a unified diff, which `git apply` takes."""
        return "".join(step.diff() for step in self.steps)

    def apply(self) -> None:
        """Write the files.

        Raises:
            RechunkError: a file cannot be written. No file is half written.
        """
        for step in self.steps:
            repository.write(self.directory, step.path, step.new or b"")


def migrate(directory: Path, *, version: str) -> Migration:
    """Plan the changes; write nothing.

    Args:
        directory: the repository.
        version: the version of rechunk-podman that the changed lines pin.
    """
    before = dict(_files(directory))
    after = {path: _changed(path, text, version) for path, text in before.items()}
    install = _needs_tool(before, after)
    if install and _install(before, after, version):
        install = False
    steps = tuple(
        Step(path, Action.UPDATE, text.encode(), after[path].encode())
        for path, text in before.items()
        if after[path] != text
    )
    left = tuple(
        Left(path, number, line.strip())
        for path, text in after.items()
        for number, line in enumerate(text.splitlines(), 1)
        if USED.search(line) and not re.match(r"\s*(?:#|echo\b)", line)
    )
    return Migration(directory, steps, left, install)


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of each file that may call a rechunker, sorted; skip symlinks."""
    for number, (folder, folders, names) in enumerate(os.walk(directory)):
        folders[:] = [] if number > MAX_FOLDERS else sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            location = Path(folder, name)
            path = location.relative_to(directory).as_posix()
            if not _matches(path, (*PATTERNS, *READ_ONLY)):
                continue
            if location.is_symlink() or location.stat().st_size > MAX_FILE:
                continue
            data = repository.read(directory, [path])[path] or b""
            try:
                yield path, data.decode()
            except UnicodeDecodeError:
                continue


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch(path if "/" in pattern else name, pattern) for pattern in patterns)


def _changed(path: str, text: str, version: str) -> str:
    if not _matches(path, PATTERNS):
        return text
    for rule in RULES:
        text = rule(text, version)
    return text


def _needs_tool(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    return any(_ON_HOST.search(text) and not _ON_HOST.search(before[path]) for path, text in after.items())


def _install(before: Mapping[str, str], after: dict[str, str], version: str) -> bool:
    """Put a step before each first step that calls the tool. Return False if no workflow calls it."""
    recipes = {
        name
        for path, text in after.items()
        if not path.startswith(".github/")
        for name in _recipes(text, before[path])
    }
    done = False
    for path in [path for path in after if path.startswith(".github/workflows/")]:
        offset = _first_call(after[path], recipes)
        step = None if offset is None else _step_before(after[path], offset)
        if step is not None:
            text, indent = after[path], step[1]
            lines = _INSTALL.format(version=version).splitlines(keepends=True)
            new = "".join(indent + line if line.strip() else line for line in lines)
            after[path] = text[: step[0]] + new + text[step[0] :]
            done = True
    return done


def _recipes(text: str, before: str) -> Iterator[str]:
    """Yield the names of the recipes that now call the tool, directly or through other recipes."""
    if text == before:
        return
    heads = list(_RECIPE.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)] * bool(heads)
    bodies = {head[1]: text[head.start() : end] for head, end in zip(heads, ends, strict=True)}
    found = {name for name, body in bodies.items() if _ON_HOST.search(body)}
    while callers := {
        name
        for name, body in bodies.items()
        if name not in found and any(re.search(_reaching(one), body) for one in found)
    }:
        found |= callers
    yield from sorted(found)


def _calling(recipe: str) -> str:
    return rf"\b(?:just|make)\b(?:[^\n;|&\\]|\\\n)*?(?<![\w-]){re.escape(recipe)}(?![\w-])"


def _reaching(recipe: str) -> str:
    """Return a pattern for a call of a recipe, or for its name among the dependencies of another recipe."""
    return rf"{_calling(recipe)}|\A[^\n]*:[^\n]*(?<![\w-]){re.escape(recipe)}(?![\w-])"


def _first_call(text: str, recipes: set[str]) -> int | None:
    """Return the offset of the first call of the tool, or of a recipe that calls it, outside of comments."""
    patterns = [_ON_HOST.pattern, *(_calling(name) for name in sorted(recipes))]
    for match in re.finditer("|".join(patterns), text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not line.lstrip().startswith("#"):
            return match.start()
    return None


def _step_before(text: str, offset: int) -> tuple[int, str] | None:
    """Return offset and indentation of the step around an offset; comments above it belong to it."""
    found = None
    for match in _STEP.finditer(text, 0, offset):
        found = match
    if found is None:
        return None
    lines = text[: found.start()].splitlines(keepends=True)
    start = found.start()
    while lines and lines[-1].startswith(found[1] + "#"):
        start -= len(lines.pop())
    return start, found[1]
