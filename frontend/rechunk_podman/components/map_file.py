"""Component maps: TSV, CSV or JSON that names a component, and maybe an update interval, for paths.

TSV: a line each `PATH<TAB>COMPONENT[<TAB>INTERVAL]`; empty lines and lines that begin with `#` mean nothing.
CSV: the same columns (RFC 4180). In both a first line `path`, `component`, `interval` is a header.
JSON: an object {PATH: COMPONENT} or {PATH: {"component": …, "interval": …}}, or an array of objects
{"path": …, "component": …, "interval": …}.

A file is read in pieces, and yields records one by one: a map may have a million. A broken record is an item
of its own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from rechunk_podman.components.intervals import INTERVAL_HINT, days_of
from rechunk_podman.pathtable import path_key

MOST_RECORDS = 2_000_000
"""Records that are read of one map; a later one is not."""

MOST_READ = 512 << 20
"""Characters that are read of one map; its rest is not."""

LONGEST = 1 << 16
"""Characters of a record at most."""

LONGEST_NAME = 200
"""Characters of a component's name at most."""

_HEADER = ["path", "component", "interval"]
_PIECE = 1 << 20


class Record(NamedTuple):
    """A record of a map.

    number: of the line (TSV, CSV) or of the record (JSON), from 1.
    path: a path or a glob, as written.
    interval: days.
    """

    number: int
    path: str
    component: str
    interval: float | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be used."""

    number: int
    reason: str


Item = Record | Broken


def parse(stream: TextIO, form: str) -> Iterator[Item]:
    """Yield the records of a map.

    Args:
        stream: text that was decoded with surrogateescape, without translation of line ends.
        form: tsv, csv or json.
    """
    limited = _Limited(stream)
    number = 0
    rows = {"tsv": _tsv, "csv": _csv, "json": _json}[form](limited)
    for count, (number, fields) in enumerate(rows):
        if count >= MOST_RECORDS:
            yield Broken(number, f"there are more than {MOST_RECORDS} records, and the rest is not read")
            return
        yield fields if isinstance(fields, Broken) else _record(number, fields)
    if limited.is_cut:
        yield Broken(number + 1, f"the map has more than {MOST_READ >> 20} MiB, and the rest is not read")


class _Limited:
    """The beginning of a text.

    is_cut: True if the limit was reached.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = MOST_READ
        self.is_cut = False

    def read(self, size: int) -> str:
        """Return the next characters, as TextIO.read() does."""
        return self._counted(self._stream.read(size))

    def readline(self, size: int) -> str:
        """Return the next line or a part of it, as TextIO.readline() does."""
        return self._counted(self._stream.readline(size))

    def _counted(self, text: str) -> str:
        self._left -= len(text)
        self.is_cut = self._left < 0
        return "" if self.is_cut else text


def form_of(path: str) -> str:
    """Return the form of a map by the name of its file: csv, json, else tsv."""
    ending = path.lower().rpartition(".")[2]
    return ending if ending in ("csv", "json") else "tsv"


def _record(number: int, fields: list[Any]) -> Item:
    if not 2 <= len(fields) <= 3:
        return Broken(number, f"it has {len(fields)} fields, not a path, a component and maybe an interval")
    path, component, interval = (*fields, None)[:3]
    if not isinstance(path, str) or not is_path(path):
        return Broken(number, f"not a path: {path!r:.80}")
    if not isinstance(component, str) or not is_name(component.strip()):
        return Broken(number, f"not a name of a component: {component!r:.80}")
    if interval is None or interval == "":
        return Record(number, path, component.strip(), None)
    days = days_of(str(interval)) if isinstance(interval, (str, int, float)) else None
    if days is None:
        return Broken(number, f"not an interval: {interval!r:.80} ({INTERVAL_HINT})")
    return Record(number, path, component.strip(), days)


def is_path(text: str) -> bool:
    """Return True if a text can be a path or a glob below the root."""
    try:
        path_key(text)
    except UnicodeEncodeError:
        return False
    return bool(text.strip("/")) and "\0" not in text


def is_name(text: str) -> bool:
    """Return True if a text can be the name of a component: printable, and not too long."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable()


Rows = Iterator[tuple[int, list[Any] | Broken]]


def _lines(stream: _Limited) -> Iterator[tuple[int, str | None]]:
    """Yield (number, line without its end), None for a line that is too long."""
    number = 0
    while line := stream.readline(LONGEST + 2):
        number += 1
        if number == 1:
            line = line.removeprefix("\ufeff")
        if len(line) > LONGEST and not line.endswith("\n"):
            while line and not line.endswith("\n"):
                line = stream.readline(_PIECE)
            yield number, None
        else:
            yield number, line


def _tsv(stream: _Limited) -> Rows:
    for number, line in _lines(stream):
        if line is None:
            yield number, Broken(number, f"it has more than {LONGEST} characters")
            continue
        text = line.rstrip("\r\n")
        if text.strip() and not text.startswith("#"):
            fields = text.split("\t")
            if number > 1 or fields != _HEADER[: len(fields)]:
                yield number, list(fields)


def _csv(stream: _Limited) -> Rows:
    reader = csv.reader(line or "" for _, line in _lines(stream))
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, Broken(reader.line_num, str(error))
            continue
        if fields and (reader.line_num > 1 or fields != _HEADER[: len(fields)]):
            yield reader.line_num, list(fields)


def _json(stream: _Limited) -> Rows:
    """Yield the members of the object or array that a text holds, each decoded by itself."""
    text = _Window(stream)
    opening = text.next()
    if opening not in ("{", "["):
        yield 1, Broken(1, "the file is not a JSON object or array")
        return
    closing = "}" if opening == "{" else "]"
    number = 0
    while (mark := text.next()) != closing:
        number += 1
        if number > 1:
            if mark != ",":
                yield number, Broken(number, "the JSON ends, or has no comma, here")
                return
        elif mark:
            text.back()
        try:
            key = text.value()
            if opening == "{":
                if text.next() != ":":
                    raise ValueError("there is no colon after the path")
                yield number, _of_member(key, text.value())
            else:
                yield number, _of_object(number, key)
        except (ValueError, RecursionError) as error:
            # the rest of the text cannot be told from the broken record
            yield number, Broken(number, f"it is not JSON, and the rest is not read: {error}")
            return


def _of_member(path: Any, value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [path, value.get("component"), value.get("interval")]
    return [path, value]


def _of_object(number: int, value: Any) -> list[Any] | Broken:
    if not isinstance(value, dict):
        return Broken(number, "it is not an object")
    return [value.get("path"), value.get("component"), value.get("interval")]


class _Window:
    """The part of a JSON text that is in memory."""

    def __init__(self, stream: _Limited) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._decode: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().raw_decode

    def next(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                self._at += 1
                if character not in " \t\r\n\ufeff":
                    return character
            if not self._fill():
                return ""

    def back(self) -> None:
        """Go back by the character that next() returned."""
        self._at -= 1

    def value(self) -> Any:
        """Return the next value.

        Raises:
            ValueError: there is no value of at most LONGEST characters.
            RecursionError: it is too deep.
        """
        if not self.next():
            raise ValueError("the text ends")
        self.back()
        while len(self._text) - self._at <= LONGEST and self._fill():
            pass
        value, end = self._decode(self._text, self._at)
        if end - self._at > LONGEST:
            raise ValueError(f"it has more than {LONGEST} characters")
        self._at = end
        return value

    def _fill(self) -> bool:
        piece = self._stream.read(_PIECE)
        self._text = self._text[self._at :] + piece
        self._at = 0
        return bool(piece)
