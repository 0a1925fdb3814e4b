"""`rechunk-podman changelog OLD NEW`: write what changed from one image to another."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.options import REFERENCE_HELP, Access, Arch, Json, Pretty, Revision, Verbose, command
from rechunk_podman.errors import UsageError
from rechunk_podman.units import human_size

TEMPLATE = "changelog.md.j2"


@command
def changelog(
    old: Annotated[str, typer.Argument(metavar="OLD", help=REFERENCE_HELP)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same; what OLD is updated to.")],
    access: Access,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Jinja template; tags like <pkgupd> may stand in it."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A text with tags like <pkgupd>, in place of a template."),
    ] = None,
    git: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The repository of both revisions: their commits are listed."),
    ] = None,
    revision: Revision = None,
    notable: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Packages to be named first, in place of the default. Repeatable."),
    ] = None,
    formatter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="How hhd-dev/rechunk's tags are written out. Repeatable."),
    ] = None,
    pretty: Pretty = None,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Write what changed from OLD to NEW: packages, the download, commits; Markdown by default.

    Of images here the package databases are read, of those in a registry what they recorded (source
    packages). --revision is that of NEW, if its label does not give it.
    """
    set_up_logging(verbose)
    from rechunk_podman.changelog import run
    from rechunk_podman.changelog.compare import NOTABLE
    from rechunk_podman.changelog.render import (
        Tags,
        parse_formatters,
        render_template,
        render_text,
        without_controls,
    )
    from rechunk_podman.split.containerfile import templates

    if template is not None and text is not None:
        raise UsageError("--template and --text exclude each other", hint="give one of them")
    formatters = parse_formatters(formatter or ())
    source = _read(template or templates() / TEMPLATE)
    document = run.changelog(
        old,
        new,
        access.registry(old, new, platform=arch),
        notable=notable or NOTABLE,
        git=None if git is None else str(git),
        revision=revision,
    )
    if as_json:
        print_json(document.to_json())
        return
    tags = Tags(document, _now(), pretty or "", formatters)
    if text is not None:
        result = render_text(text, tags)
    else:
        result = render_template(source, tags, human_size=human_size, name=str(template or TEMPLATE))
    sys.stdout.write(without_controls(result.removesuffix("\n")) + "\n")


def _now() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isdecimal() and text.isascii() else int(time.time())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the template {path}",
            context=[str(error)],
            hint="--template takes a file; --text takes a text with tags like <pkgupd>",
        ) from error
