"""`rechunk-podman lint IMG [NEW]`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.commands.inspect import VerboseOption, print_lines
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.errors import UsageError
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.lint.checks import Check, Result, Subject
    from rechunk_podman.lint.layers import LayerChange
    from rechunk_podman.oci.read.image import ImageSource

SHOWN_PATHS = 5
SHOWN_CHANGES = 12
NEVER = "never"
FAIL_ON = ("note", "warning", "error", NEVER)


def lint(
    image: Annotated[
        str | None, typer.Argument(metavar="IMG", help="Image name, OCI layout, archive or directory.")
    ] = None,
    new: Annotated[
        str | None, typer.Argument(metavar="NEW", help="The image that replaces IMG: compare their layers.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave out a check. May be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run this check. May be repeated.")
    ] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="|".join(FAIL_ON), help="What makes the exit code 1: this, or worse.")
    ] = "error",
    bootable: Annotated[
        bool | None,
        typer.Option("--bootc/--no-bootc", help="The image is one of bootc or ostree; otherwise found out."),
    ] = None,
    zstd_chunked: Annotated[
        bool, typer.Option("--zstd-chunked", help="The image will be pushed as zstd:chunked.")
    ] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="Print all checks and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON (docs/lint.md).")] = False,
    verbose: VerboseOption = 0,
) -> None:
    """Check an image for what fails at boot, leaks secrets or makes updates large.

    With NEW: which layers changed by content, and which only by metadata, and the paths of both: why was this
    downloaded again? Image references are as `verify` takes them. -v prints all paths.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 a wrong call.
    """
    set_up_logging(verbose)
    from rechunk_podman.lint import run as registry

    checks = registry.chosen(only=only or (), ignore=ignore or ())
    if fail_on not in FAIL_ON:
        raise UsageError(f"not a severity: {fail_on!r}", hint=f"--fail-on takes {', '.join(FAIL_ON)}")
    if list_checks:
        _list(checks, as_json)
        return
    if image is None:
        raise UsageError("no image is named", hint="rechunk-podman lint IMG, or --list")
    if new is None:
        with opened(image, bootable, zstd_chunked) as subject:
            results = registry.run(subject, checks)
            document = {"image": subject.name, "bootable": subject.bootable}
        lines: list[str] = []
    else:
        from rechunk_podman.lint.layers import compare

        with with_layers(image) as one, with_layers(new) as two:
            changes = compare(one, two)
        results = registry.run_update(changes, checks)
        document = {"old": image, "new": new, "layers": [layer.to_json() for layer in changes]}
        lines = _layer_lines(changes, verbose)
    if as_json:
        counts = dict.fromkeys(FAIL_ON[:3], 0) | Counter(str(result.severity) for result in results)
        print_json({**document, "counts": counts, "findings": [result.to_json() for result in results]})
    else:
        print_lines([*_result_lines(results, verbose), *lines, _verdict(results)])
    if fail_on != NEVER and any(result.severity >= FAIL_ON.index(fail_on) for result in results):
        raise typer.Exit(1)


@contextmanager
def opened(reference: str, bootable: bool | None, zstd_chunked: bool) -> Iterator[Subject]:
    """What a reference names, ready to be checked.

    Raises:
        UsageError: there is nothing of that name, or it cannot be read without unpacking.
    """
    from rechunk_podman.lint import subject
    from rechunk_podman.oci.documents import image_record
    from rechunk_podman.oci.read.image import open_image
    from rechunk_podman.registry.documents import Place, locate
    from rechunk_podman.rootfs.root import Root

    place, name = locate(reference)
    if place is Place.REGISTRY:
        raise _elsewhere(reference)
    if place is Place.STORAGE:
        from rechunk_podman.programs.namespace import reexecute_in_namespace
        from rechunk_podman.programs.podman import connect, mounted

        with connect() as podman:
            found = podman.resolve(name)
        if os.geteuid() != 0:
            reexecute_in_namespace(sys.argv[1:])
        record = image_record(reference, found.manifest, found.config)
        with mounted(found.id) as path, Root(path) as root:
            yield subject.of_directory(
                root, name=reference, record=record, bootable=bootable, zstd_chunked=zstd_chunked
            )
    elif place is Place.DIRECTORY:
        with Root(name) as root:
            yield subject.of_directory(root, name=reference, bootable=bootable, zstd_chunked=zstd_chunked)
    elif place is Place.DOCUMENT:
        raise _document(reference)
    else:
        with open_image(name) as image:
            yield subject.of_image(image, name=reference, bootable=bootable, zstd_chunked=zstd_chunked)


@contextmanager
def with_layers(reference: str) -> Iterator[ImageSource]:
    """The image that a reference names, its layers at hand; those of one in storage are copied out.

    Raises:
        UsageError: there is nothing of that name, or it has no layers.
    """
    from rechunk_podman.oci.read.image import open_image
    from rechunk_podman.programs.podman import connect
    from rechunk_podman.programs.process import local_environment
    from rechunk_podman.programs.skopeo import export_layout
    from rechunk_podman.registry.documents import Place, locate

    place, name = locate(reference)
    if place is Place.REGISTRY:
        raise _elsewhere(reference)
    if place is Place.DIRECTORY:
        raise UsageError(
            f"a directory has no layers: {reference}", hint="`rechunk-podman verify A B` compares files"
        )
    if place is Place.DOCUMENT:
        raise _document(reference)
    if place is Place.STORAGE:
        with connect() as podman:
            image_id = podman.resolve(name).id
        with tempfile.TemporaryDirectory(prefix="rechunk-podman-") as folder:
            export_layout(image_id, "image", cwd=folder, env=local_environment())
            with open_image(f"oci:{Path(folder) / 'image'}") as image:
                yield image
    else:
        with open_image(name) as image:
            yield image


def _document(reference: str) -> UsageError:
    return UsageError(f"a saved config has no files: {reference}", hint="name the image itself")


def _elsewhere(reference: str) -> UsageError:
    return UsageError(
        f"cannot read {reference} in place",
        hint="podman pull it, or: skopeo copy … oci:DIR; `rechunk-podman diff` needs no layers",
    )


def _list(checks: Sequence[Check], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "name": c.name,
                    "severity": str(c.severity),
                    "summary": c.summary,
                    "why": c.why,
                    "fix": c.fix,
                }
                for c in checks
            ]
        )
        return
    width = max((len(check.name) for check in checks), default=0)
    print_lines([f"{check.name:{width}}  {check.severity!s:7}  {check.summary}" for check in checks])


def _result_lines(results: Sequence[Result], verbose: int) -> list[str]:
    lines = []
    for place, result in enumerate(results):
        finding, check = result.finding, result.check
        lines.append(f"{result.severity}: {check.name}: {finding.message}")
        shown = finding.paths if verbose else finding.paths[:SHOWN_PATHS]
        lines += [f"  /{path}" for path in shown]
        if len(finding.paths) > len(shown):
            lines.append(f"  and {len(finding.paths) - len(shown)} more (-v shows them)")
        if all(later.check is not check for later in results[place + 1 :]):
            lines += [f"  why: {check.why}", f"  fix: {check.fix}"]
    return lines


def _layer_lines(changes: Sequence[LayerChange], verbose: int) -> list[str]:
    from rechunk_podman.lint.layers import CONTENT_CHANGES

    lines = []
    for layer in changes:
        changed = sorted(layer.changes, key=lambda change: change.what not in CONTENT_CHANGES)
        shown = changed if verbose else changed[:SHOWN_CHANGES]
        if shown:
            lines.append(f"layer {layer.number}: {layer.verdict}")
        for change in shown:
            values = "" if change.old is None and change.new is None else f": {_value(change.old)}"
            values += "" if change.new is None and not values else f" -> {_value(change.new)}"
            lines.append(
                f"  /{change.path}: {change.what}{values if change.what != 'moved' else _from(change.old)}"
            )
        if len(layer.changes) > len(shown):
            lines.append(f"  and {len(layer.changes) - len(shown)} more (-v shows them)")
    totals: Counter[str] = Counter()
    for layer in changes:
        totals[layer.verdict] += layer.size or 0
    counts = Counter(layer.verdict for layer in changes)
    summary = ", ".join(
        f"{verdict} {count} ({human_size(totals[verdict])})" for verdict, count in counts.items()
    )
    return [*lines, f"layers: {summary}" if summary else "no layers"]


def _value(value: str | None) -> str:
    return "-" if value is None else value


def _from(place: str | None) -> str:
    return f" from layer {place}"


def _verdict(results: Sequence[Result]) -> str:
    from rechunk_podman.lint.checks import plural

    counts = Counter(str(result.severity) for result in results)
    text = ", ".join(plural(counts[name], name) for name in ("error", "warning", "note") if counts[name])
    return text or "nothing found"
