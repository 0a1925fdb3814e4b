"""`rechunk-podman verify A B`: compare the files of two images."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.options import Access, Arch, Json, SkipSpecialFiles, Verbose, command

if TYPE_CHECKING:
    from rechunk_podman.explain.files import Difference, Differences

SHOWN = 200
"""The number of differences that are shown."""


@command
def verify(
    access: Access,
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="Image name, docker://NAME, OCI layout, archive or directory.",
            autocompletion=image_names,
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The image or directory to compare A with.", autocompletion=image_names
        ),
    ],
    selinux: Annotated[bool, typer.Option("--with-selinux", help="Compare security.selinux, too.")] = False,
    ignore_prune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Leave PATH out of the comparison; PATH/ leaves out what it holds."
        ),
    ] = None,
    skip_special_files: SkipSpecialFiles = False,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Prove that A and B hold the same files: type, content, mode, owner, xattrs, links, devices.

    An operand is docker://NAME, whose layers are fetched, oci:DIR[:TAG], oci-archive:FILE,
    docker-archive:FILE or containers-storage:NAME; without
    such a prefix it is the path of an OCI layout, an image archive or a root filesystem, else the name of a
    local image. Differences in modification times and of / itself are reported, but do not count.

    Exit codes: 0 the same, 1 differences, 2 a wrong call.
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.documents import files_document
    from rechunk_podman.explain.run import verify as compare

    found = compare(
        a,
        b,
        access.registry(a, b, platform=arch),
        selinux=selinux,
        ignore=ignore_prune or (),
        skip_special_files=skip_special_files,
    )
    if as_json:
        print_json(files_document(found))
    else:
        _show(found)
    if not found.same:
        raise typer.Exit(1)


def _show(found: Differences) -> None:
    from rechunk_podman.cli.tables import print_lines, print_table

    shown = found.entries[:SHOWN]
    if sys.stdout.isatty() and shown:
        print_table("", ("path", "what", found.a, found.b), map(_cells, shown))
    else:
        print_lines(_lines("", shown))
    print_lines(_lines("note: ", [*found.root, *found.mtime_examples]))
    lines = []
    if len(found.entries) > SHOWN:
        lines.append(f"and {len(found.entries) - SHOWN} more differences (--json prints all)")
    if found.mtimes:
        lines.append(f"note: {found.mtimes} paths differ in their modification time")
    counts = ", ".join(f"{what} {count}" for what, count in found.counts.items())
    verdict = "the same files" if found.same else f"{len(found.entries)} differences ({counts})"
    print_lines([*lines, f"{verdict}: {found.paths} paths compared, {found.a} and {found.b}"])


def _cells(difference: Difference) -> tuple[str, str, str, str]:
    one, two = ("-" if value is None else value for value in (difference.a, difference.b))
    return f"/{difference.path}", difference.what, one, two


def _lines(prefix: str, differences: Iterable[Difference]) -> Iterable[str]:
    from rechunk_podman.cli.lint_text import change_text

    for path, what, one, two in differences:
        yield f"{prefix}/{path}: {what}: {change_text(what, one, two)}"
