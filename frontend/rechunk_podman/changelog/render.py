"""Render a Changelog by a Jinja template, or by a text with the tags of hhd-dev/rechunk.

Source of the tags, their formatters and defaults: hhd-dev/rechunk, src/rechunk/utils.py and action.yml
(v1.2).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import jinja2

from rechunk_podman.changelog.compare import ADDED, REMOVED
from rechunk_podman.changelog.document import Changelog
from rechunk_podman.changelog.installed import Version
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.markdown import escape

FORMATTERS: Mapping[str, str] = {
    "commits.none": "-\n",
    "commits.commit": "- **<short>** <subject>\n",
    "pkgupd.none": "-\n",
    "pkgupd.update": " - **<package>**: <old> → <new>\n",
    "pkgupd.add": " - **<package>**: x → <new>\n",
    "pkgupd.remove": " - **<package>**: <old> → x\n",
}
"""Name of a formatter -> its default text."""

_TAG = re.compile(
    r"<(?:(?P<name>version|previous|date|timestamp|pretty|commits|pkgupd)"
    r"|(?P<of>version|relver):(?P<package>[^<>\s]+))>"
)


@dataclass(frozen=True, slots=True)
class Tags:
    """The values of the tags. now: epoch seconds. pretty: the name of the version for people."""

    changelog: Changelog
    now: int
    pretty: str = ""
    formatters: Mapping[str, str] = field(default_factory=dict)

    def value(self, tag: re.Match[str]) -> str:
        """Return the value of a tag, or the tag itself if its value is unknown."""
        if tag["of"]:
            return self._package(tag["of"], tag["package"]) or tag[0]
        log, name = self.changelog, tag["name"]
        if name in ("date", "timestamp"):
            when = datetime.fromtimestamp(self.now, timezone.utc)
            return when.strftime("%y%m%d" if name == "date" else "%Y-%m-%dT%H:%M:%SZ")
        pretty = self.pretty.replace("<version>", log.new.version or "<version>")
        known = {"version": log.new.version, "previous": log.old.version, "pretty": pretty}
        if name in known:
            return known[name] or tag[0]
        return self.commits() if name == "commits" else self.packages()

    def _package(self, what: str, name: str) -> str | None:
        installed = self.changelog.installed
        if installed is None:
            return None
        version = installed.binary.get(name) or installed.sources.get(name)
        if version is None or not version.text:
            return None
        return version.upstream if what == "version" else version.with_release

    def format(self, name: str, values: Mapping[str, str]) -> str:
        """Return a formatter's text with its tags filled in; a value is not searched for tags again."""
        text = self.formatters.get(name, FORMATTERS[name])
        return re.sub(r"<([a-z]+)>", lambda match: values.get(match[1], match[0]), text)

    def commits(self) -> str:
        """Return the commits, one `commits.commit` each."""
        lines = [
            self.format(
                "commits.commit", {"short": c.short, "hash": c.hash, "subject": c.subject, "author": c.author}
            )
            for c in self.changelog.commits or ()
        ]
        return "".join(lines) or self.format("commits.none", {})

    def packages(self) -> str:
        """Return the packages: added ones, then changed ones, then removed ones."""
        found = self.changelog.packages
        rest = [change for change in found.changes if change.kind not in (ADDED, REMOVED)]
        lines = []
        for change in (*found.of(ADDED), *rest, *found.of(REMOVED)):
            old, new = short_versions(change.old, change.new)
            formatter = {ADDED: "pkgupd.add", REMOVED: "pkgupd.remove"}.get(change.kind, "pkgupd.update")
            lines.append(self.format(formatter, {"package": change.name, "old": old, "new": new}))
        return "".join(lines) or self.format("pkgupd.none", {})


def short_versions(old: Version | None, new: Version | None) -> tuple[str, str]:
    """Return both versions for people: without the release, unless only the release differs.

    "" means that the package is absent, "?" that its version is unknown.
    """
    if old is None or new is None or not (old.text and new.text):
        return _shown(old), _shown(new)
    if old.upstream != new.upstream:
        return old.upstream, new.upstream
    if old.with_release != new.with_release:
        return old.with_release, new.with_release
    return old.text, new.text


def _shown(version: Version | None) -> str:
    return "" if version is None else version.upstream or "?"


def parse_formatters(lines: Sequence[str]) -> dict[str, str]:
    """Parse `NAME=TEXT` lines, with `\\n` in the text for a line break; skip empty lines.

    Raises:
        UsageError: a line has another form, or names an unknown formatter.
    """
    found = {}
    for line in (line for text in lines for line in text.splitlines()):
        name, equals, text = line.partition("=")
        name = name.strip()
        if not line.strip():
            continue
        if not equals or name not in FORMATTERS:
            raise UsageError(
                f"not a formatter: {line!r}", hint=f"NAME=TEXT, NAME one of {', '.join(FORMATTERS)}"
            )
        found[name] = text.replace("\\n", "\n")
    return found


def render_text(text: str, tags: Tags) -> str:
    """Fill in the tags of hhd-dev/rechunk in a text; a value is not searched for tags again."""
    return _TAG.sub(tags.value, text)


def read_template(path: Path) -> str:
    """Return the text of a template.

    Raises:
        UsageError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the template {path}",
            context=[str(error)],
            hint="--template takes a file; --text takes a text with tags like <pkgupd>",
        ) from error


def render_template(source: str, tags: Tags, *, human_size: Callable[[float], str], name: str) -> str:
    """Render a Jinja template, which may contain these tags as well.

    The template sees `old`, `new` (Side), `packages` (PackageChanges), `download` (bytes, layers, of_bytes,
    of_layers), `commits` (None without a repository), `update` (Update), `now`, and the filters `size`
    (bytes for people), `md` (text in which nothing is Markdown) and `versions` (old and new of a change,
    shortened).

    Raises:
        UsageError: the template is malformed, or uses an unknown name.
    """
    replaced: list[str] = []

    def keep(match: re.Match[str]) -> str:
        replaced.append(tags.value(match))
        return "{{ __tags[" + str(len(replaced) - 1) + "] }}"

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (Markdown; the filter `md` escapes texts of images)
    )
    environment.filters["size"] = human_size
    environment.filters["md"] = escape
    environment.filters["versions"] = lambda change: short_versions(change.old, change.new)
    log = tags.changelog
    try:
        return environment.from_string(_TAG.sub(keep, source)).render(
            __tags=replaced,
            old=log.old,
            new=log.new,
            packages=log.packages,
            download=log.to_json()["download"],
            commits=log.commits,
            update=log.update,
            now=datetime.fromtimestamp(tags.now, timezone.utc),
        )
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        raise UsageError(
            f"the template {name} cannot be rendered: {error.message or error}",
            context=[] if line is None else [f"line {line}"],
            hint="docs/changelog.md names what a template sees",
        ) from error


def without_controls(text: str) -> str:
    """Replace control characters, except line breaks and tabs, and undecodable bytes."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text
    )
