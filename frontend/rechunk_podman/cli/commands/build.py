"""`rechunk-podman build`: a root filesystem in, an image out."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.identify import BootcOption
from rechunk_podman.cli.inputs import (
    compression_of,
    config_text,
    find_rootfs,
    memories,
    named_output,
    warn_of_output_within,
)
from rechunk_podman.cli.profiles import chosen_layers, parse_max_layers
from rechunk_podman.cli.references import (
    AuthfileOption,
    CertDirOption,
    CredsOption,
    FreshOption,
    NoLedgerOption,
    PreviousOption,
    ReuseOption,
    StateOption,
    TlsVerifyOption,
    VerifyPreviousOption,
    registry_of,
)
from rechunk_podman.errors import ToolError, UsageError
from rechunk_podman.files import is_stream, require_writable, write_file

if TYPE_CHECKING:
    from rechunk_podman.build.pipeline import BuildRequest, Prepared
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.oci.reuse import Reuse
    from rechunk_podman.oci.write.compress import Compression
    from rechunk_podman.oci.write.documents import WrittenImage
    from rechunk_podman.oci.write.output import Output
    from rechunk_podman.registry.access import Registry


def manifest_document(manifest: bytes, prepared: Prepared) -> bytes:
    """The manifest as JSON, with what chunkah writes by --write-manifest-to: the components and their files.

    components: id -> file_count, size (bytes of its regular files), files (absolute paths).
    """
    document = json.loads(manifest)
    document["components"] = {
        str(component.id): {
            "file_count": len(component.paths),
            "size": sum(prepared.tree[path].size for path in component.paths if path),
            "files": ["/" + path for path in component.paths],
        }
        for component in prepared.assignment.components
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def plan_document(prepared: Prepared) -> dict[str, Any]:
    """The plan as JSON: layers bottom first, each with its components, sizes (bytes) and rate."""
    sizes = {component.id: component.size for component in prepared.assignment.components}
    return {
        "max_layers": prepared.max_layers,
        "size": sum(sizes.values()),
        "layers": [
            {
                "size": sum(sizes[component] for component in layer.components),
                "rate": round(layer.rate, 6),
                "diff_id": layer.diff_id,
                "fee": layer.fee,
                "components": [
                    {"id": str(component), "size": sizes[component]} for component in layer.components
                ],
            }
            for layer in prepared.plan.layers
        ],
        "notes": list(prepared.plan.notes),
    }


def build(
    rootfs: Annotated[
        str | None,
        typer.Option(
            help="The root filesystem; else RECHUNK_ROOTFS, CHUNKAH_ROOTFS, /chunkah or /rootfs.",
            metavar="DIR",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="[oci:|oci-archive:|docker-archive:]PATH",
            help="Where the image goes; an OCI archive on standard output by default.",
        ),
    ] = None,
    max_layers: Annotated[
        str | None,
        typer.Option(
            metavar="N|PROFILE",
            help="A number, or docker, podman, bootc (120), podman-new (400); 64 by default.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Image config: OCI, or what podman or docker inspect print."),
    ] = None,
    config_str: Annotated[
        str | None, typer.Option(metavar="JSON", help="The same as text (env RECHUNK_CONFIG_STR).")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE|KEY-|-", help="Set a label, drop one, or drop all so far; in order."),
    ] = None,
    annotation: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE|KEY-|-", help="The same for manifest annotations.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="Architecture of the image (x86_64 is understood).")
    ] = None,
    source_date_epoch: Annotated[
        int | None,
        typer.Option(
            envvar="SOURCE_DATE_EPOCH",
            min=0,
            help="Creation time of the image, epoch seconds; else that of the source image.",
        ),
    ] = None,
    compressed: Annotated[bool, typer.Option("--compressed", help="The same as --compression gzip.")] = False,
    compression: Annotated[str | None, typer.Option(metavar="none|gzip|zstd")] = None,
    compression_level: Annotated[
        int | None, typer.Option(metavar="N", help="gzip 0..9 (6), zstd 1..22 (3).")
    ] = None,
    prune: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Leave PATH out; PATH/ leaves out what it holds.")
    ] = None,
    skip_special_files: Annotated[
        bool, typer.Option("--skip-special-files", help="Leave out sockets, FIFOs and devices.")
    ] = False,
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", metavar="NAME", help="Reference in the archive.")
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", "-T", min=0, envvar=["RECHUNK_THREADS", "CHUNKAH_THREADS"], help="0: all cores."
        ),
    ] = 0,
    write_manifest_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the manifest there, and which component holds which files."
        ),
    ] = None,
    write_oci_manifest_to: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)] = None,
    keep_mtime: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Leave the times of PATH (and what is below it) as they are."),
    ] = None,
    root_mode: Annotated[
        str | None, typer.Option(metavar="OCTAL", help="Permissions of / in the image (0755).")
    ] = None,
    keep_selinux: Annotated[
        bool, typer.Option("--keep-selinux", help="Record security.selinux labels, too.")
    ] = False,
    previous: PreviousOption = None,
    fresh: FreshOption = False,
    no_ledger: NoLedgerOption = False,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    cert_dir: CertDirOption = None,
    state: StateOption = None,
    verify_previous: VerifyPreviousOption = None,
    reuse: ReuseOption = True,
    without_blob: Annotated[
        list[str] | None,
        typer.Option(metavar="DIGEST", hidden=True, help="A blob of the previous image that is lost."),
    ] = None,
    held: Annotated[
        Path | None,
        typer.Option(metavar="FILE", hidden=True, help="JSON list of diff_ids that the target store holds."),
    ] = None,
    bootc: BootcOption = False,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Print the plan, write no image.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --plan-only: as JSON.")] = False,
    write_peak_mem_to: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)] = None,
    trace_logfile: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")
    ] = 0,
) -> None:
    """Write the files of a root filesystem as an image in content-based, reproducible layers."""
    set_up_logging(verbose, trace_logfile)
    from rechunk_podman.build import pipeline
    from rechunk_podman.oci.write.compress import Compression
    from rechunk_podman.oci.write.output import OutputKind

    if as_json and not plan_only:
        raise UsageError("--json goes with --plan-only", hint="--write-manifest-to FILE gives the manifest")
    target, tag = (None, None) if plan_only else named_output(output, tag)
    if target is not None and target.path is None and sys.stdout.isatty():
        raise UsageError("standard output is a terminal", hint="redirect it, or give --output PATH")
    beside = {
        "--write-manifest-to": write_manifest_to,
        "--write-oci-manifest-to": write_oci_manifest_to,
        "--write-peak-mem-to": write_peak_mem_to,
    }
    for option, path in beside.items():
        if path is not None:
            require_writable(path, option)
    profile = chosen_layers(max_layers, bootc=bootc)
    source, layers = find_rootfs(rootfs), parse_max_layers(profile)
    if target is not None:
        warn_of_output_within(source, target)
    text = config_text(config, config_str)
    registry = registry_of(tls_verify, authfile, creds, arch, cert_dir)
    before = None if previous is None or fresh else _resolve(previous, registry, state)
    own, base = (None, None) if fresh else memories(before, text)
    packing = Compression.parse(compression_of(compression, compressed), compression_level)
    request = pipeline.BuildRequest(
        rootfs=source,
        max_layers=layers,
        config_text=text,
        labels=tuple(label or ()),
        annotations=tuple(annotation or ()),
        arch=arch,
        created=source_date_epoch,
        compression=packing,
        prune=tuple(prune or ()),
        skip_special_files=skip_special_files,
        tag=tag,
        threads=threads or len(os.sched_getaffinity(0)),
        keep_mtime=tuple(keep_mtime or ()),
        root_mode=_octal(root_mode),
        keep_selinux=keep_selinux,
        bootc=bootc,
        previous=own,
        base=base,
        record=not no_ledger,
        reuse=_held(held),
        reuse_from=None if held is None else "containers-storage:",
    )
    if target is None:
        prepared = pipeline.plan_only(request)
        document = plan_document(prepared)
        if as_json:
            print_json(document)
        else:
            _print_plan(document)
    else:
        image, prepared = _write(
            request,
            target,
            before if reuse and held is None and target.kind is OutputKind.OCI else None,
            registry,
            docker=profile == "docker",
            verify=verify_previous,
            without=tuple(without_blob or ()),
        )
        if write_manifest_to is not None:
            write_file(write_manifest_to, manifest_document(image.manifest, prepared))
        if write_oci_manifest_to is not None:
            write_file(write_oci_manifest_to, image.manifest)
    if write_peak_mem_to is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_file(write_peak_mem_to, f"{peak}\n".encode())


def _resolve(reference: str, registry: Registry, state: str | None) -> Previous | None:
    from rechunk_podman.build.previous import resolve
    from rechunk_podman.registry.state import load

    return resolve(reference, registry, load(state))


def _write(
    request: BuildRequest,
    target: Output,
    previous: Previous | None,
    registry: Registry,
    *,
    docker: bool,
    verify: bool | None,
    without: tuple[str, ...],
) -> tuple[WrittenImage, Prepared]:
    from rechunk_podman.build import pipeline

    seen: list[Prepared] = []

    def planned(prepared: Prepared, size: int) -> None:
        seen.append(prepared)
        _room(target, request.compression, size)

    if previous is None:
        image = pipeline.build(request, target, on_plan=planned)
        return image, seen[-1]
    from rechunk_podman.build.previous import build as build_reusing
    from rechunk_podman.oci.reuse import acceptable

    compressions = acceptable(request.compression.kind, docker=docker)
    image = build_reusing(
        request,
        target,
        previous,
        compressions,
        verify=verify,
        without=without,
        registry=registry,
        on_plan=planned,
    )
    return image, seen[-1]


def _held(path: Path | None) -> Reuse:
    """What --held says; diff_ids of layers that need no blob."""
    from rechunk_podman.oci import spec

    if path is None:
        return {}
    found = json.loads(path.read_bytes())
    return {spec.diff_id(text): None for text in found}


def _room(target: Output, compression: Compression, size: int) -> None:
    """Says what the layers to be written will need; a ToolError where that is certainly not there."""
    if target.path is None or is_stream(target.path):
        return
    from rechunk_podman.programs import space

    try:
        space.require(
            "the layers to be written", target.path, at_most=size, at_least=space.least(size, compression)
        )
    except ToolError as error:
        raise ToolError(
            error.message,
            context=error.context,
            hint="name a place with room that may be written to (--output)",
        ) from error


def _octal(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"not an octal mode: {text!r}", hint="for example --root-mode 0755")
    return mode


def _print_plan(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from rechunk_podman.units import human_size

    table = Table(title=f"{len(document['layers'])} layers, {human_size(document['size'])}")
    for column in ("layer", "size", "components"):
        table.add_column(column, justify="left" if column == "components" else "right")
    for number, layer in enumerate(document["layers"], 1):
        names = [component["id"] for component in sorted(layer["components"], key=lambda c: -c["size"])]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        table.add_row(str(number), human_size(layer["size"]), ", ".join(names[:3]) + more)
    Console().print(table)
