"""Commands in the text of workflows, Justfiles and scripts: their lines, their words, their options.

No shell is run and nothing is expanded. A word keeps its quotes and its `$…`, `${{ … }}` and `{{ … }}` as
they stand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_SUBSTITUTION = r"\$\((?:[^()]|\([^()]*\))*\)"
_WORD = re.compile(
    rf"""(?: \$\{{\{{.*?\}}\}} | \{{\{{.*?\}}\}} | \$\{{[^}}]*\}} | {_SUBSTITUTION}
        | "(?: {_SUBSTITUTION} | \\. | [^"\\] )*" | '[^']*' | \\[^\n] | [^\s"'\\;|&<>()] )+""",
    re.VERBOSE | re.DOTALL,
)
_SEPARATOR = re.compile(r"&&|\|\|?|;|&|[0-9]*[<>]+&?|[()]")
_SPACE = re.compile(r"(?:\s|\\\n)+")
_REDIRECTION = re.compile(r"[0-9]*[<>]")


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command: no pipe, list or redirection.

    words: with their quotes. start, end: offsets in the text, from the first word to the end of the last one.
    """

    words: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a command: flags without a value, the others in order, and the words beside them."""

    flags: frozenset[str]
    values: tuple[tuple[str, str], ...]
    operands: tuple[str, ...]

    def last(self, *names: str) -> str | None:
        """Return the last value of an option."""
        return next((value for name, value in reversed(self.values) if name in names), None)

    def all(self, *names: str) -> list[str]:
        """Return all values of an option."""
        return [value for name, value in self.values if name in names]


def command_at(text: str, offset: int) -> Command | None:
    """Return the command around an offset; None in a comment, or where it cannot be read.

    A command goes on in the next line after a backslash.
    """
    first = text.rfind("\n", 0, offset) + 1
    while first and text[: first - 1].endswith("\\"):
        first = text.rfind("\n", 0, first - 1) + 1
    last = _line_end(text, offset)
    while text[:last].endswith("\\") and last < len(text):
        last = _line_end(text, last + 1)
    if text[first:last].lstrip().startswith("#"):
        return None
    words: list[str] = []
    start = end = at = first
    target = ""
    while at < last:
        if space := _SPACE.match(text, at, last):
            at = space.end()
        elif separator := _SEPARATOR.match(text, at, last):
            if start <= offset < end:
                break
            at, words = separator.end(), []
            target = separator[0]
        elif word := _WORD.match(text, at, last):
            at = word.end()
            if _REDIRECTION.match(target):
                target = ""
                continue
            start = start if words else word.start()
            words.append(word[0])
            end = at
        else:
            return None
    return Command(tuple(words), start, end) if start <= offset < end else None


def split_words(text: str) -> list[str]:
    """Return the words of a line, up to the first pipe, list, redirection or parenthesis."""
    words: list[str] = []
    at = 0
    while word := _WORD.match(text, at):
        words.append(word[0])
        space = _SPACE.match(text, word.end())
        at = word.end() if space is None else space.end()
    return words


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def parse_options(words: Sequence[str], flags: Collection[str] = ()) -> Options:
    """Sort the words of a command into options and operands.

    Args:
        flags: the options that take no value.
    """
    seen, values, operands = set(), [], []
    rest = iter(words)
    for word in rest:
        bare = unquote(word)
        name, equals, _ = bare.partition("=")
        if not word.startswith(("-", '"-')):
            operands.append(word)
        elif equals:
            value = word.partition("=")[2]
            quoted = word[0] == '"' and word.endswith('"')
            values.append((name, f'"{value}' if quoted else value))
        elif name in flags:
            seen.add(name)
        else:
            values.append((name, next(rest, "")))
    return Options(frozenset(seen), tuple(values), tuple(operands))


def unquote(word: str) -> str:
    """Return a word without quotes around the whole of it."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        return word[1:-1]
    return word


def indent_of(text: str, offset: int) -> str:
    """Return the white space at the beginning of the line."""
    first = text.rfind("\n", 0, offset) + 1
    line = text[first : _line_end(text, first)]
    return line[: len(line) - len(line.lstrip())]


def lay_out(words: Sequence[Sequence[str]], indent: str, *, lines: bool) -> str:
    """Return a command as text.

    Args:
        words: groups of words that stay in one line.
        lines: a line for each group.
    """
    between = f" \\\n{indent}    " if lines else " "
    return between.join(" ".join(group) for group in words)
