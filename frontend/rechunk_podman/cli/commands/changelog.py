"""`rechunk-podman changelog OLD NEW`: write the changes from one image to another."""

from __future__ import annotations

import sys
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
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The image that OLD is updated to, named likewise.")
    ],
    access: Access,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Jinja template, which may contain tags like <pkgupd>."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A text with tags like <pkgupd>, in place of a template."),
    ] = None,
    git: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A git repository with both revisions; the commits between them are listed."
        ),
    ] = None,
    revision: Revision = None,
    notable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Packages that are named first, in place of the default. Repeatable."
        ),
    ] = None,
    formatter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="The text for a tag of hhd-dev/rechunk. Repeatable."),
    ] = None,
    pretty: Pretty = None,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Write the changes from OLD to NEW: packages, the download, commits; in Markdown by default.

    The package databases of local images are read. Of images in a registry only the ledger is read, which
    names source packages. --revision is that of NEW, if its label does not give it.
    """
    set_up_logging(verbose)
    from rechunk_podman.build.identity import today
    from rechunk_podman.changelog import run
    from rechunk_podman.changelog.compare import NOTABLE
    from rechunk_podman.changelog.render import (
        Tags,
        parse_formatters,
        read_template,
        render_template,
        render_text,
        without_controls,
    )
    from rechunk_podman.split.containerfile import templates

    if template is not None and text is not None:
        raise UsageError("--template and --text exclude each other", hint="give one of them")
    formatters = parse_formatters(formatter or ())
    source = read_template(template or templates() / TEMPLATE)
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
    tags = Tags(document, today(), pretty or "", formatters)
    if text is not None:
        result = render_text(text, tags)
    else:
        result = render_template(source, tags, human_size=human_size, name=str(template or TEMPLATE))
    sys.stdout.write(without_controls(result.removesuffix("\n")) + "\n")
