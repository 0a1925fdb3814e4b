"""`rechunk-podman lint IMG [NEW]`: run the checks on an image, or on an update."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.options import Access, Arch, Bootc, Json, Verbose, command
from rechunk_podman.errors import UsageError

FAIL_ON = ("note", "warning", "error", "never")


@command
def lint(
    access: Access,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMG",
            help="Image name, docker://NAME, OCI layout, archive or directory.",
            autocompletion=image_names,
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="The image that replaces IMG: compare their layers.",
            autocompletion=image_names,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave out a check. Repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run only this check. Repeatable.")
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(metavar="|".join(FAIL_ON), help="Exit with 1 for findings of this severity or worse."),
    ] = "error",
    bootc: Bootc = None,
    zstd_chunked: Annotated[
        bool, typer.Option("--zstd-chunked", help="The image will be pushed as zstd:chunked.")
    ] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="Print all checks and exit.")] = False,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Check an image for files that fail at boot, leak secrets or make updates large.

    With NEW, compare the layers of both images: which changed in content and which only in metadata, with the
    paths. This explains why a layer is downloaded again. References are as for `verify`; of docker://NAME all
    layers are fetched, with NEW only those that differ. -v prints all paths.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 a wrong call.
    """
    set_up_logging(verbose)
    from rechunk_podman.cli.lint_text import check_lines, report_lines
    from rechunk_podman.cli.tables import print_lines
    from rechunk_podman.lint import report as linting
    from rechunk_podman.lint.checks import Severity
    from rechunk_podman.lint.run import chosen

    checks = chosen(only=only or (), ignore=ignore or ())
    if fail_on not in FAIL_ON:
        raise UsageError(f"not a severity: {fail_on!r}", hint=f"--fail-on takes {', '.join(FAIL_ON)}")
    if list_checks:
        if as_json:
            print_json({"checks": [linting.check_document(check) for check in checks]})
        else:
            print_lines(check_lines(checks))
        return
    if image is None:
        raise UsageError("no image is named", hint="rechunk-podman lint IMG, or --list")
    if new is None:
        report = linting.lint(
            image, checks, access.registry(image, platform=arch), bootable=bootc, zstd_chunked=zstd_chunked
        )
    else:
        report = linting.lint_update(image, new, checks, access.registry(image, new, platform=arch))
    if as_json:
        print_json(report.document())
    else:
        print_lines(report_lines(report, all_paths=verbose > 0))
    if fail_on != "never" and report.has(Severity[fail_on.upper()]):
        raise typer.Exit(1)
