"""Renders templates/Containerfile.splitter.j2: pure text, quoted so that any value arrives as it was given.

Sources: buildah-build(1); the Dockerfile reference ("Escape character", "Environment replacement").
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from rechunk_podman.errors import UsageError

TEMPLATE = "Containerfile.splitter.j2"
DEFAULT_CHUNKER = "localhost/rechunk-podman:latest"

CONFIG_FILE = "rechunk-config.json"
ARGS_FILE = "rechunk-args"
ARCHIVE_FILE = "out.ociarchive"

_PACKAGE = Path(__file__).resolve().parent.parent

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_PORT = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/(?:tcp|udp|sctp))?\Z")
_SIGNAL = re.compile(r"[A-Z0-9+-]+\Z")


@dataclass(frozen=True, slots=True)
class FinalStage:
    """What a user adds on top of the config that the chunker wrote. None: nothing is said; (): cleared."""

    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None
    user: str | None = None
    workdir: str | None = None
    expose: Sequence[str] = ()
    volumes: Sequence[str] = ()
    stop_signal: str | None = None

    def instructions(self) -> tuple[str, ...]:
        """The Containerfile lines of this stage, in a fixed order.

        Raises:
            UsageError: a value cannot be written in a Containerfile (a line break, an odd name).
        """
        lines = [f"LABEL {quoted(key)}={quoted(value)}" for key, value in self.labels.items()]
        lines += [f"ENV {_checked(_KEY, key, 'variable')}={quoted(value)}" for key, value in self.env.items()]
        if self.user is not None:
            lines.append(f"USER {_word(self.user)}")
        if self.workdir is not None:
            lines.append(f"WORKDIR {_word(self.workdir)}")
        lines += [f"EXPOSE {_checked(_PORT, port, 'port')}" for port in self.expose]
        if self.volumes:
            lines.append(f"VOLUME {_exec_form(self.volumes)}")
        if self.stop_signal is not None:
            lines.append(f"STOPSIGNAL {_checked(_SIGNAL, self.stop_signal, 'signal')}")
        if self.entrypoint is not None:
            lines.append(f"ENTRYPOINT {_exec_form(self.entrypoint)}")
        if self.cmd is not None:
            lines.append(f"CMD {_exec_form(self.cmd)}")
        return tuple(lines)


def render(
    *,
    chunker: str = DEFAULT_CHUNKER,
    after: bool = False,
    image: str | None = None,
    final: FinalStage | None = None,
) -> str:
    """The text of a Containerfile.splitter.

    Args:
        chunker: the default of its build argument CHUNKER.
        after: for buildah 1.44 and newer: the last stage names the one it depends on, which then needs no
            --skip-unused-stages=false.
        image: full id of the image to split, which is mounted as it is; without it, it comes as --from. As
            the base of a stage it gets directories for its volumes from buildah 1.43.
        final: instructions for the last stage; none by default.

    Raises:
        UsageError: as FinalStage.instructions() does, or the chunker's name is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", chunker):
        raise UsageError(
            f"not an image name: {chunker!r}", hint="--chunker takes a name, such as " + DEFAULT_CHUNKER
        )
    if image is not None and not re.fullmatch(r"[0-9a-f]{64}", image):
        raise UsageError(f"not the id of an image: {image!r}", hint="64 hex digits")
    instructions = () if final is None else final.instructions()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (a Containerfile is not HTML)
    )
    return environment.get_template(TEMPLATE).render(
        chunker=chunker, after=after, image=image, instructions=instructions
    )


def templates() -> Path:
    """The folder of templates: in the installed package, or at the top of a checkout."""
    packaged = _PACKAGE / "templates"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / "templates"


def arguments_text(arguments: Sequence[str]) -> str:
    """The content of rechunk-args: words quoted for sh, in one line (line breaks only in quotes)."""
    return shlex.join(arguments) + "\n"


def quoted(value: str) -> str:
    """A value in double quotes, in which the builder expands and drops nothing.

    Raises:
        UsageError: it holds a line break or NUL, for which a Containerfile has no notation.
    """
    if re.search(r"[\0\r\n]", value):
        raise UsageError(
            f"a Containerfile cannot hold a line break: {value[:40]!r}",
            hint="labels with line breaks go through `rechunk-podman build --label`",
        )
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def _word(value: str) -> str:
    """One word of an instruction that expands variables and takes the rest of its line as it is."""
    if re.search(r"[\0\r\n]", value) or not value.strip():
        raise UsageError(f"not a value for a Containerfile: {value[:40]!r}", hint="no line breaks, not empty")
    return re.sub(r"([\\$\"'])", r"\\\1", value)


def _exec_form(words: Sequence[str]) -> str:
    return json.dumps(list(words), ensure_ascii=True)


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.match(value):
        raise UsageError(f"not a {what}: {value!r}", hint=f"a {what} as a Containerfile writes it")
    return value
