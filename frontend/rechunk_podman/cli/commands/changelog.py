"""`rechunk-podman changelog OLD NEW`."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.commands.inspect import REFERENCE_HELP, ArchOption, VerboseOption
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.references import AuthfileOption, CredsOption, TlsVerifyOption, registry_of
from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.changelog.installed import Packages
    from rechunk_podman.explain.inspect import ImageFacts

log = logging.getLogger(__name__)

TEMPLATE = "changelog.md.j2"


def changelog(
    old: Annotated[str, typer.Argument(metavar="OLD", help=REFERENCE_HELP)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same; what OLD is updated to.")],
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
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="NEW's revision, where its label does not say it.")
    ] = None,
    notable: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Packages to be named first, in place of the default. Repeatable."),
    ] = None,
    formatter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="How hhd-dev/rechunk's tags are written out. Repeatable."),
    ] = None,
    pretty: Annotated[str, typer.Option(metavar="TEXT", help="What <pretty> stands for.")] = "",
    arch: ArchOption = None,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON (docs/changelog.md).")] = False,
    verbose: VerboseOption = 0,
) -> None:
    """Write what changed from OLD to NEW: packages, the download, commits; Markdown by default.

    Of images here the package databases are read, of those in a registry what they recorded (source
    packages).
    """
    set_up_logging(verbose)
    from rechunk_podman.changelog.compare import NOTABLE, package_changes
    from rechunk_podman.changelog.document import REVISION_LABEL, Changelog, Side
    from rechunk_podman.changelog.render import (
        Tags,
        parse_formatters,
        render_template,
        render_text,
        without_controls,
    )
    from rechunk_podman.explain.download import compare
    from rechunk_podman.explain.inspect import describe
    from rechunk_podman.programs.git import commits_or_none
    from rechunk_podman.registry.documents import image_documents
    from rechunk_podman.split.containerfile import templates

    if template is not None and text is not None:
        raise UsageError("--template and --text exclude each other", hint="give one of them")
    formatters = parse_formatters(formatter or ())
    source = _read(template or templates() / TEMPLATE)
    registry = registry_of(tls_verify, authfile, creds, arch, references=(old, new))
    before, now = (describe(image_documents(reference, registry)) for reference in (old, new))
    installed = [_packages(reference, facts) for reference, facts in ((old, before), (new, now))]
    ends = [facts.record.config.labels.get(REVISION_LABEL, "") for facts in (before, now)]
    ends[1] = revision or ends[1]
    commits = None
    if git is not None and all(ends):
        commits = commits_or_none(str(git), ends[0], ends[1])
    elif git is not None:
        log.warning("no commits: the label %s is not on both images", REVISION_LABEL)
    document = Changelog(
        Side.of(before),
        Side.of(now),
        package_changes(installed[0], installed[1], notable or NOTABLE),
        compare(before, now),
        commits,
    )
    if as_json:
        print_json(document.to_json())
        return
    tags = Tags(document, installed[1], _now(), pretty, formatters)
    if text is not None:
        result = render_text(text, tags)
    else:
        result = render_template(source, tags, human_size=human_size, name=str(template or TEMPLATE))
    result = without_controls(result)
    sys.stdout.write(result if result.endswith("\n") else result + "\n")


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
            hint="--template takes a file; --text a text with tags like <pkgupd>",
        ) from error


def _packages(reference: str, facts: ImageFacts) -> Packages | None:
    """The packages of an image, as well as they can be known without fetching layers; None: not at all."""
    from rechunk_podman.changelog.installed import databases_of, of_ledger, of_root
    from rechunk_podman.oci.read.image import open_image
    from rechunk_podman.programs.namespace import reexecute_in_namespace
    from rechunk_podman.programs.podman import connect, mounted
    from rechunk_podman.registry.documents import Place, locate
    from rechunk_podman.rootfs.root import Root

    found: Packages | None = None
    place, name = locate(reference)
    try:
        if place is Place.IMAGE:
            with open_image(name) as image, databases_of(image) as root:
                found = of_root(root)
        elif place in (Place.STORAGE, Place.DIRECTORY):
            with connect() as podman:
                image_id = podman.resolve(name).id
            if os.geteuid() != 0:
                reexecute_in_namespace(sys.argv[1:])
            with mounted(image_id) as path, Root(path) as root:
                found = of_root(root)
    except RechunkError as error:
        log.warning("%s: its packages are not known by its databases: %s", reference, error.message)
    if found is not None and (found.binary or found.sources):
        return found
    return None if facts.ledger is None else of_ledger(facts.ledger)
