"""`rechunk-podman components IMG`: list who owns what, or why one path is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.completion import image_names
from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.file_options import Groups, Map
from rechunk_podman.cli.inputs import absolute_files
from rechunk_podman.cli.options import Access, Arch, Json, Prune, Rootfs, Verbose, command
from rechunk_podman.errors import UsageError
from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.components.why import Why
    from rechunk_podman.explain.owners import Owners

SHOWN = 20
"""The number of unclaimed files that are shown."""


@command
def components(
    *,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMG",
            help="A local image, docker://NAME, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or a "
            "directory.",
            autocompletion=image_names,
        ),
    ] = None,
    access: Access,
    rootfs: Rootfs = None,
    why: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Say which source, rule and record decided for this path."),
    ] = None,
    map_: Map = None,
    groups: Groups = None,
    prune: Prune = None,
    arch: Arch = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """List the components of an image: what they are, how large, and which files no source claims.

    The components are those that build and split would make with the same --map, --groups and --prune. An
    image that is not in local storage is unpacked into a temporary directory (below TMPDIR, else /var/tmp).
    """
    set_up_logging(verbose)
    from rechunk_podman.explain.owners import owners, owners_document, rules_of, why_document
    from rechunk_podman.explain.owners import why as why_of

    name = image if rootfs is None else rootfs
    if name is None or (image is not None and rootfs is not None):
        raise UsageError(
            "components takes an image or --rootfs, one of both",
            hint="rechunk-podman components IMG; or --rootfs DIR",
        )
    if rootfs is not None and arch is not None:
        raise UsageError(f"a directory has no platform: {rootfs}", hint="leave out --arch")
    rules = rules_of(absolute_files(map_), absolute_files(groups))
    registry, is_rootfs = access.registry(name, platform=arch), rootfs is not None
    if why is None:
        found = owners(name, rules, registry=registry, prune=prune or (), is_rootfs=is_rootfs)
        print_json(owners_document(found)) if as_json else _show(found)
    else:
        reason = why_of(name, why, rules, registry=registry, prune=prune or (), is_rootfs=is_rootfs)
        print_json(why_document(name, reason)) if as_json else _explain(reason)


def _show(found: Owners) -> None:
    from rechunk_podman.cli.tables import print_lines, print_table

    rows = [
        [
            component.id,
            component.version.split(" ")[-1],
            str(component.files),
            human_size(component.size),
            str(len(component.parts) or ""),
        ]
        for component in found.components
    ]
    columns = ["component", "version", "files", "size", "parts"]
    print_table(found.name, columns, rows, numbers=["files", "size", "parts"])
    share = found.unclaimed_size / found.size if found.size else 0.0
    lines = [
        f"{len(found.components)} components, {human_size(found.size)}; "
        f"no source claims {human_size(found.unclaimed_size)} ({share:.1%})"
    ]
    lines += [f"  {human_size(size):>9}  /{path}" for path, size in found.unclaimed[:SHOWN]]
    if len(found.unclaimed) > SHOWN:
        lines.append("  and smaller files (--json lists more)")
    print_lines(lines)


def _explain(found: Why) -> None:
    from rechunk_podman.cli.tables import print_lines

    lines = [f"path       /{found.path}"]
    lines += [f"follows    /{path}" for path in found.follows]
    lines += [f"component  {found.component or 'none'}"]
    lines += [f"part       {found.part}"] if found.part else []
    lines += [f"rule       {found.rule}"]
    lines += [f"record     {', '.join(found.records)}"] if found.records else []
    lines += [f"package    {found.package}"] if found.package else []
    print_lines(lines)
