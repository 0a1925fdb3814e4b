"""`rechunk-podman validate PATH`: check an image against its own digests."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json
from rechunk_podman.cli.options import Json, Strict
from rechunk_podman.units import human_size


def validate(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="An OCI layout, OCI archive or docker archive.")
    ],
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Recompute every digest, size and diff_id of the images at PATH, and check how their tars are made.

    Exit codes: 0 sound, 1 problems, 2 a wrong call.
    """
    from rechunk_podman.cli.tables import print_lines
    from rechunk_podman.explain.documents import validation_document
    from rechunk_podman.oci.validate.image import validate as check
    from rechunk_podman.units import plural

    report = check(path, strict=strict)
    if as_json:
        print_json(validation_document(report))
    else:
        for level, problems in (("error", report.errors), ("warning", report.warnings)):
            print_lines(f"{level}: {p.where}: {p.message} [{p.code}]" for p in problems)
        elsewhere = f", {len(report.elsewhere)} elsewhere" if report.elsewhere else ""
        verdict = plural(len(report.errors), "problem") if report.errors else "sound"
        blobs = f"{plural(report.blobs, 'blob')} ({human_size(report.size)}{elsewhere})"
        images = plural(len(report.images), "image")
        print_lines([f"{report.name}: {verdict}; {images}, {blobs}"])
    if report.errors:
        raise typer.Exit(1)
