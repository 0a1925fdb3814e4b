"""`rechunk-podman inspect IMG`: what an image consists of, and what it recorded."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.commands.verify import printable
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.references import AuthfileOption, CredsOption, TlsVerifyOption, registry_of
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rechunk_podman.explain.inspect import ImageFacts, LayerFacts

SHOWN_NAMES = 4
SHOWN_RELEASES = 8

REFERENCE_HELP = (
    "A local image, docker://NAME, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or a saved config."
)
ArchOption = Annotated[
    str | None, typer.Option(metavar="ARCH", help="Of an image for several: which; else this machine's.")
]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON (docs/inspect.md).")]


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMG", help=REFERENCE_HELP)],
    arch: ArchOption = None,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show an image's layers, their sizes and components, and what it recorded for the next one.

    Of an image in a registry only the manifest and the config are fetched. Images that chunkah or rpm-ostree
    made are shown with their components, too; of any other image, what made each layer.
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.inspect import describe
    from rechunk_podman.registry.documents import image_documents

    facts = describe(image_documents(image, registry_of(tls_verify, authfile, creds, arch)))
    if as_json:
        print_json(facts.to_json())
    else:
        show(facts)


def show(facts: ImageFacts) -> None:
    """Prints the facts as a table and a few lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rated = any(layer.rate is not None for layer in facts.layers)
    columns = ["layer", "size", *(["changes", "per update"] if rated else [])]
    table = Table(title=Text(printable(facts.name)))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("components")
    for layer in facts.layers:
        cells = [str(layer.number), size_of(layer.size)]
        if rated:
            cells += ["" if layer.rate is None else f"{layer.rate:.0%}", size_of(layer.expected, "")]
        table.add_row(*cells, Text(contents(layer)))
    Console().print(table)
    print_lines(_summary(facts))


def _summary(facts: ImageFacts) -> list[str]:
    forms = {layer.compressed for layer in facts.layers}
    form = ", compressed" if forms == {True} else ", not compressed" if forms == {False} else ""
    lines = [f"{len(facts.layers)} layers, {size_of(facts.size)}{form}"]
    if facts.size is None:
        lines.append("sizes are in the manifest, which is not at hand")
    ledger = facts.ledger
    if ledger is None:
        lines.append(facts.problem.message if facts.problem is not None else "no ledger")
        return lines
    expected = facts.expected
    rated = any(layer.rate is not None for layer in facts.layers)
    unknown = "unknown without sizes" if rated else "not known before the second release"
    lines.append("expected per update: " + (unknown if expected is None else human_size(expected)))
    about = f"ledger: {len(ledger.components)} components in {len(ledger.layers)} layers"
    lines.append(f"{about}, {facts.ledger_bytes} bytes")
    if facts.derived:
        above = len(facts.layers) - len(ledger.layers)
        lines.append(f"derived: {above} layers lie above those of the base image, which the ledger describes")
    releases = facts.releases
    if len(releases) > SHOWN_RELEASES:
        lines.append(f"releases: {len(releases)}, of which the last {SHOWN_RELEASES}:")
    elif releases:
        lines.append(f"releases: {len(releases)}")
    for release in releases[-SHOWN_RELEASES:]:
        lines.append(f"  {day(release.date)}  {release.changed} changed, {release.new} new")
    return lines


def contents(layer: LayerFacts) -> str:
    """A layer's components, the first few; where they are not known, what made it."""
    if not layer.components:
        return printable(layer.created_by or "(nothing is said of it)")
    names = [printable(name) for name in layer.components[:SHOWN_NAMES]]
    return enumerated(names, len(layer.components) + layer.more)


def enumerated(shown: Sequence[str], count: int) -> str:
    """The first of `count` things, and how many more there are."""
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def size_of(size: float | None, unknown: str = "unknown") -> str:
    """Bytes for people, or that nobody knows."""
    return unknown if size is None else human_size(size)


def day(seconds: int) -> str:
    """A recorded date as YYYY-MM-DD, UTC; the number where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines on stdout; control characters of foreign documents are escaped."""
    for line in lines:
        typer.echo(printable(line))
