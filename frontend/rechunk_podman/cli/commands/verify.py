"""`rechunk-podman verify A B` and `rechunk-podman validate PATH`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rechunk_podman.cli.console import print_json
from rechunk_podman.errors import UsageError
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.explain.files import Difference, Differences
    from rechunk_podman.oci.read.flatten import TreeDigest
    from rechunk_podman.oci.validate.image import Problem

_SHOWN = 200


def verify(
    a: Annotated[str, typer.Argument(metavar="A", help="Image name, OCI layout, archive or directory.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    selinux: Annotated[bool, typer.Option("--selinux", help="Compare security.selinux, too.")] = False,
    ignore_prune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Leave PATH out of the comparison; PATH/ leaves out what it holds."
        ),
    ] = None,
    skip_special_files: Annotated[
        bool, typer.Option("--skip-special-files", help="Leave out sockets, FIFOs and devices.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Prove that A and B hold the same files: type, content, mode, owner, xattrs, links, devices.

    An operand is oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or containers-storage:NAME; without
    such a prefix an OCI layout, an image archive or a root filesystem, whatever lies at that path, else the
    name of a local image. Modification times and / itself are reported, but count for nothing.

    Exit codes: 0 the same, 1 differences, 2 a wrong call.
    """
    from rechunk_podman.explain.files import verify as compare

    options = (selinux, skip_special_files, tuple(ignore_prune or ()))
    result = compare(
        read_operand(a, *options),
        read_operand(b, *options),
        selinux=selinux,
        ignore=ignore_prune or (),
        skip_special_files=skip_special_files,
    )
    if json_output:
        print_json(result.to_json())
    else:
        _show(result)
    if not result.same:
        raise typer.Exit(1)


def validate(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="An OCI layout, OCI archive or docker archive.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Ask for all that images written by this tool promise.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Recompute every digest, size and diff_id of the images at PATH, and check how their tars are made.

    Exit codes: 0 sound, 1 problems, 2 a wrong call.
    """
    from rechunk_podman.oci.validate.image import validate as check

    report = check(path, strict=strict)
    if json_output:
        print_json(
            {
                "name": report.name,
                "transport": report.transport,
                "sound": not report.errors,
                "images": [{"digest": image.digest, "layers": len(image.layers)} for image in report.images],
                "blobs": report.blobs,
                "size": report.size,
                "elsewhere": sorted(report.elsewhere),
                "errors": [problem._asdict() for problem in report.errors],
                "warnings": [problem._asdict() for problem in report.warnings],
            }
        )
    else:
        _write(_problem_lines("error", report.errors))
        _write(_problem_lines("warning", report.warnings))
        elsewhere = f", {len(report.elsewhere)} elsewhere" if report.elsewhere else ""
        verdict = f"{len(report.errors)} problems" if report.errors else "sound"
        blobs = f"{report.blobs} blobs ({human_size(report.size)}{elsewhere})"
        _write([f"{report.name}: {verdict}; {len(report.images)} images, {blobs}"])
    if report.errors:
        raise typer.Exit(1)


def read_operand(
    text: str, selinux: bool = False, skip_special_files: bool = False, ignore: tuple[str, ...] = ()
) -> TreeDigest:
    """The tree of an operand of verify: image with a transport, layout, archive, directory, local image.

    Raises:
        UsageError: there is nothing of that name, or it cannot be read without unpacking.
    """
    from rechunk_podman.explain.files import read_directory
    from rechunk_podman.registry.documents import Place, locate

    place, name = locate(text)
    if place is Place.REGISTRY:
        raise UsageError(f"cannot read {text} in place", hint="copy it here first: skopeo copy … oci:DIR")
    if place is Place.STORAGE:
        return _local_image(name, selinux, skip_special_files, ignore)
    if place is Place.DIRECTORY:
        return read_directory(
            Path(name),
            name=text,
            prune=ignore,
            keep_selinux=selinux,
            skip_special_files=skip_special_files,
        )
    return _image(name, text)


def _image(reference: str, name: str) -> TreeDigest:
    from rechunk_podman.oci.read.flatten import read_tree
    from rechunk_podman.oci.read.image import open_image

    with open_image(reference) as image:
        return replace(read_tree(image), name=name)


def _local_image(name: str, selinux: bool, skip_special_files: bool, ignore: tuple[str, ...]) -> TreeDigest:
    from rechunk_podman.explain.files import read_directory
    from rechunk_podman.programs.namespace import reexecute_in_namespace
    from rechunk_podman.programs.podman import connect, mounted

    with connect() as podman:
        image_id = podman.resolve(name).id
    if os.geteuid() != 0:
        reexecute_in_namespace(sys.argv[1:])
    with mounted(image_id) as path:
        return read_directory(
            path,
            name=name,
            prune=ignore,
            keep_selinux=selinux,
            skip_special_files=skip_special_files,
        )


def _show(result: Differences) -> None:
    rows = [(difference, "error") for difference in result.entries[:_SHOWN]]
    rows += [(difference, "note") for difference in result.root]
    rows += [(difference, "note") for difference in result.mtime_examples]
    if sys.stdout.isatty() and result.entries:
        table = Table("path", "what", escape(printable(result.a)), escape(printable(result.b)))
        for difference in result.entries[:_SHOWN]:
            table.add_row(*(Text(cell) for cell in _cells(difference)))
        Console().print(table)
        rows = rows[len(result.entries[:_SHOWN]) :]
    _write(
        f"{'' if level == 'error' else 'note: '}{path}: {what}: {one} -> {two}"
        for (path, what, one, two), level in ((_cells(difference), level) for difference, level in rows)
    )
    if len(result.entries) > _SHOWN:
        _write([f"and {len(result.entries) - _SHOWN} more differences (--json prints all)"])
    if result.mtimes:
        _write([f"note: {result.mtimes} paths differ in their modification time"])
    counts = ", ".join(f"{what} {count}" for what, count in result.counts.items())
    verdict = "the same files" if result.same else f"{len(result.entries)} differences ({counts})"
    _write([f"{verdict}: {result.paths} paths compared, {result.a} and {result.b}"])


def _cells(difference: Difference) -> tuple[str, str, str, str]:
    return (
        printable("/" + difference.path),
        difference.what,
        "-" if difference.a is None else printable(difference.a),
        "-" if difference.b is None else printable(difference.b),
    )


def printable(text: str) -> str:
    """One line of text: what is no printable character, undecodable bytes among it, is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _problem_lines(level: str, problems: Iterable[Problem]) -> list[str]:
    return [f"{level}: {problem.where}: {problem.message} [{problem.code}]" for problem in problems]


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(printable(line) + "\n")
