"""`rechunk-podman inspect IMG`: the layers of an image, their components and its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.options import REFERENCE_HELP, Access, Arch, Json, Verbose, command
from rechunk_podman.cli.pages import Html, check_page, write_page
from rechunk_podman.units import human_size, plural

if TYPE_CHECKING:
    from rechunk_podman.explain.inspect import ImageFacts
    from rechunk_podman.registry.access import Registry

RELEASES = 8
"""The number of releases that are shown."""


@command
def inspect(
    image: Annotated[str, typer.Argument(metavar="IMG", help=REFERENCE_HELP, autocompletion=image_names)],
    access: Access,
    tree: Annotated[
        bool, typer.Option("--tree", help="Show every component, as a tree below its layer.")
    ] = False,
    html: Html = None,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Show an image's layers, their sizes and components, and the record in it for the next image.

    Of an image in a registry only the manifest and the config are fetched. Components are also shown of
    images that chunkah or rpm-ostree made; of any other image, the command that made each layer. --html reads
    the layers, too.
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.documents import image_document
    from rechunk_podman.explain.run import inspect as facts_of

    check_page(html)
    if html is not None:
        from rechunk_podman.explain.report.treemap import require_library

        require_library()
    registry = access.registry(image, platform=arch)
    facts = facts_of(image, registry)
    if html is not None:
        _write_page(facts, image, registry, html)
    if as_json:
        print_json(image_document(facts))
    elif tree:
        from rechunk_podman.cli.tables import print_lines
        from rechunk_podman.cli.tree_text import tree_lines

        print_lines(tree_lines(facts))
    else:
        _show(facts)


def _write_page(facts: ImageFacts, image: str, registry: Registry, path: Path) -> None:
    from rechunk_podman.cli.progress import progress_bar
    from rechunk_podman.explain.report.image_page import image_page
    from rechunk_podman.history.run import measure_image

    with progress_bar() as progress:
        _, contents = measure_image(image, registry, progress)
    write_page(image_page(facts, contents), path)


def _show(facts: ImageFacts) -> None:
    from rechunk_podman.cli.diff_text import contents
    from rechunk_podman.cli.tables import print_lines, print_table, size_of

    rated = any(layer.rate is not None for layer in facts.layers)
    columns = ["layer", "size", *(["changes", "per update"] if rated else []), "components"]
    rows = []
    for layer in facts.layers:
        cells = [str(layer.number), size_of(layer.size)]
        if rated:
            cells += ["" if layer.rate is None else f"{layer.rate:.0%}", size_of(layer.expected, "")]
        rows.append([*cells, contents(layer)])
    print_table(facts.name, columns, rows, numbers=columns[:-1])
    print_lines(_summary(facts, rated))


def _summary(facts: ImageFacts, rated: bool) -> list[str]:
    from rechunk_podman.cli.tables import day, size_of

    forms = {layer.compressed for layer in facts.layers}
    form = ", compressed" if forms == {True} else ", not compressed" if forms == {False} else ""
    lines = [f"{len(facts.layers)} layers, {size_of(facts.size)}{form}"]
    if facts.size is None:
        lines.append("sizes are in the manifest, which is not at hand")
    ledger = facts.ledger
    if ledger is None:
        return [*lines, facts.problem.message if facts.problem is not None else "no ledger"]
    expected = facts.expected
    unknown = "unknown without sizes" if rated else "not known before the second release"
    lines.append("expected per update: " + (unknown if expected is None else human_size(expected)))
    about = f"ledger: {facts.components} components in {len(ledger.layers)} layers"
    lines.append(f"{about}, {facts.ledger_bytes} bytes")
    if facts.derived:
        above = len(facts.layers) - len(ledger.layers)
        lines.append(
            f"derived: {plural(above, 'layer')} above those of the base image, which the ledger describes"
        )
    releases = facts.releases
    if releases:
        last = f", of which the last {RELEASES}:" if len(releases) > RELEASES else ""
        lines.append(f"releases: {len(releases)}{last}")
    return lines + [f"  {day(r.date)}  {r.changed} changed, {r.new} new" for r in releases[-RELEASES:]]
