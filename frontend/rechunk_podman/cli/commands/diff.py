"""`rechunk-podman diff OLD NEW`: the download of a client that has OLD, and the reasons for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.attached import attach_update, require_in_registry
from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.options import (
    REFERENCE_HELP,
    Access,
    Arch,
    Attach,
    Json,
    MaxUpdate,
    Verbose,
    command,
)
from rechunk_podman.cli.pages import Html, check_page, write_page
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.explain.download import Update
    from rechunk_podman.lint.layers import LayerChange


@command
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=REFERENCE_HELP, autocompletion=image_names)],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="The image that the client updates to, named likewise.",
            autocompletion=image_names,
        ),
    ],
    access: Access,
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="List the paths that differ, too: reads the layers that differ, also from registries.",
        ),
    ] = False,
    max_update: MaxUpdate = None,
    form: Annotated[
        str,
        typer.Option("--format", metavar="text|markdown", help="markdown is for pull requests and CI."),
    ] = "text",
    html: Html = None,
    attach: Attach = False,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Show what a client that has OLD downloads for NEW, layer by layer, and why.

    Layers are matched by the digests of their blobs, as clients do; the largest download comes first. Of
    images in a registry only manifests and configs are fetched. Which components changed is known if both
    images recorded it. --html reads the layers that differ, as --files does.
    """
    set_up_logging(verbose)
    from rechunk_podman.build.options import parse_limit
    from rechunk_podman.explain.documents import update_document
    from rechunk_podman.explain.limit import require_at_most
    from rechunk_podman.explain.run import diff as update_of
    from rechunk_podman.lint.layers import metadata_only
    from rechunk_podman.lint.report import lint_update

    limit = parse_limit("--max-update", max_update)
    if form not in ("text", "markdown"):
        raise UsageError(f"no such format: {form}", hint="--format text or --format markdown")
    check_page(html)
    if attach:
        require_in_registry(new)
    registry = access.registry(old, new, platform=arch)
    update = update_of(old, new, registry)
    report = lint_update(old, new, (), registry) if files or html is not None else None
    metadata = None if report is None else metadata_only(report.changes)
    if html is not None:
        from rechunk_podman.explain.report.update_page import update_page

        write_page(update_page(update, metadata), html)
    if not files:
        report = None
    if as_json:
        changes = None if report is None else [layer.to_json() for layer in report.changes if layer.changes]
        print_json({**update_document(update), **({} if changes is None else {"files": changes})})
    elif form == "markdown":
        from rechunk_podman.cli.diff_text import file_lines
        from rechunk_podman.cli.tables import print_lines
        from rechunk_podman.explain.markdown import update_markdown

        paths = file_lines(() if report is None else report.changes)
        print_lines(update_markdown(update, paths).splitlines())
    else:
        _show(update, () if report is None else report.changes)
    if attach:
        attach_update(update, metadata, registry)
    if limit is not None:
        require_at_most(update, limit)


def _show(update: Update, changes: Sequence[LayerChange]) -> None:
    from rechunk_podman.cli.diff_text import change_lines, file_lines, reason, total_lines
    from rechunk_podman.cli.tables import print_lines, print_table, size_of
    from rechunk_podman.explain.causes import verdict

    downloads = [entry for entry in update.layers if entry.downloaded]
    downloads.sort(key=lambda entry: -(entry.layer.size or 0))
    if downloads:
        print_table(
            f"{update.old.name} → {update.new.name}",
            ("layer", "download", "why"),
            [(str(entry.layer.number), size_of(entry.layer.size), reason(entry)) for entry in downloads],
            numbers=("layer", "download"),
        )
    notes = [f"note: {note}" for note in update.notes]
    lines = [*file_lines(changes), *change_lines(update), *total_lines(update)]
    print_lines([*lines, *notes, verdict(update)])
