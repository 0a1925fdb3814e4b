"""`rechunk-podman diff OLD NEW`: what a client of OLD downloads for NEW, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.commands.inspect import (
    REFERENCE_HELP,
    SHOWN_NAMES,
    ArchOption,
    JsonOption,
    VerboseOption,
    contents,
    enumerated,
    print_lines,
    size_of,
)
from rechunk_podman.cli.commands.verify import printable
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.references import AuthfileOption, CredsOption, TlsVerifyOption, registry_of
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.explain.download import ComponentUpdate, LayerUpdate, Update

SHOWN_CHANGES = 40


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=REFERENCE_HELP)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same; what the client updates to.")],
    arch: ArchOption = None,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show what a client that has OLD downloads for NEW, layer by layer, and why.

    Layers are matched by the digests of their blobs, as clients do. Of images in a registry only manifests
    and configs are fetched. Which components changed is known where both images recorded it.
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.download import compare
    from rechunk_podman.explain.inspect import describe
    from rechunk_podman.registry.documents import image_documents

    registry = registry_of(tls_verify, authfile, creds, arch, references=(old, new))
    update = compare(
        describe(image_documents(old, registry)),
        describe(image_documents(new, registry)),
    )
    if as_json:
        print_json(update.to_json())
    else:
        show(update)


def show(update: Update) -> None:
    """Prints the layers to be downloaded as a table, what changed, and the totals."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if any(entry.downloaded for entry in update.layers):
        table = Table(title=Text(f"{printable(update.old.name)} → {printable(update.new.name)}"))
        table.add_column("layer", justify="right", no_wrap=True)
        table.add_column("download", justify="right", no_wrap=True)
        table.add_column("why")
        for entry in update.layers:
            if entry.downloaded:
                table.add_row(str(entry.layer.number), size_of(entry.layer.size), Text(why(entry)))
        Console().print(table)
    print_lines([*_changes(update), *_totals(update), *(f"note: {note}" for note in update.notes)])


def why(entry: LayerUpdate) -> str:
    """Why a layer is downloaded, in one line."""
    from rechunk_podman.explain.download import CHANGED, NEW, RECOMPRESSED, UNCHANGED, UNKNOWN

    if entry.status == RECOMPRESSED:
        return f"recompressed: the content of layer {entry.old} in another blob: {contents(entry.layer)}"
    if not entry.components:
        return f"new layer: {contents(entry.layer)}"
    reasons = []
    for status in (CHANGED, NEW):
        found = entry.of(status)
        if found:
            names = [change_text(component) for component in found[:SHOWN_NAMES]]
            reasons.append(f"{status}: {enumerated(names, len(found))}")
    if entry.removed:
        names = [printable(name) for name in entry.removed[:SHOWN_NAMES]]
        reasons.append(f"removed: {enumerated(names, len(entry.removed))}")
    unknown = entry.of(UNKNOWN)
    if unknown or entry.layer.more:
        names = [printable(component.name) for component in unknown[:SHOWN_NAMES]]
        reasons.append(f"something in: {enumerated(names, len(unknown) + entry.layer.more)}")
    riders = entry.of(UNCHANGED)
    if riders:
        names = [printable(component.name) for component in riders[:SHOWN_NAMES]]
        text = f"along for the ride{_ride(entry)}: {enumerated(names, len(riders))}"
        if not reasons:
            places = ", ".join(map(str, entry.came_from[:SHOWN_NAMES]))
            text = f"packed anew (from layers {places}), {text}"
        reasons.append(text)
    return "; ".join(reasons)


def _ride(entry: LayerUpdate) -> str:
    if entry.ride_known:
        return f" ({human_size(entry.ride_bytes)})"
    return f" (at least {human_size(entry.ride_bytes)})" if entry.ride_bytes else ""


def change_text(component: ComponentUpdate) -> str:
    """A component, and its versions where they are known."""
    old, new = component.old_version, component.new_version
    name = printable(component.name)
    if old and new:
        return f"{name} {printable(old)} → {printable(new)}" if old != new else f"{name} {printable(new)}"
    return f"{name} {printable(new or old)}".rstrip()


def _changes(update: Update) -> list[str]:
    from rechunk_podman.explain.download import CHANGED, NEW

    lines = []
    groups = (
        ("changed", update.components(CHANGED)),
        ("new", update.components(NEW)),
        ("removed", list(update.removed)),
    )
    for title, found in groups:
        if found:
            lines.append(f"{title}: {len(found)}")
            lines += [f"  {change_text(component)}" for component in found[:SHOWN_CHANGES]]
            if len(found) > SHOWN_CHANGES:
                lines.append(f"  and {len(found) - SHOWN_CHANGES} more (--json prints all)")
    return lines


def _totals(update: Update) -> list[str]:
    from rechunk_podman.explain.download import CHANGED, KEPT, RECOMPRESSED

    count = update.count(CHANGED, RECOMPRESSED)
    whole = size_of(update.new.size)
    lines = [f"download: {human_size(update.downloaded)} of {whole}, {count} of {len(update.layers)} layers"]
    if update.unknown_sizes:
        lines.append(f"  and {update.unknown_sizes} layers of unknown size")
    if update.count(RECOMPRESSED):
        size = human_size(update.bytes(RECOMPRESSED))
        lines.append(f"  of which recompressed, with content that the client has: {size}")
    lines.append(f"kept: {human_size(update.bytes(KEPT))}, {update.count(KEPT)} layers")
    if update.first_changed is None:
        lines.append("local storage unpacks nothing")
    else:
        lines.append(
            f"local storage unpacks from layer {update.first_changed} on: {human_size(update.reextracted)}"
        )
    return lines
