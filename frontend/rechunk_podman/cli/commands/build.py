"""`rechunk-podman build`: build an image from a root filesystem."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging
from rechunk_podman.cli.image_options import ImageOptions
from rechunk_podman.cli.inputs import (
    BuildFiles,
    find_rootfs,
    given_config,
    note_missing_config,
    warn_of_output_within,
)
from rechunk_podman.cli.layers import print_plan
from rechunk_podman.cli.options import Access, Json, Verbose, command, for_work
from rechunk_podman.cli.progress import build_progress
from rechunk_podman.errors import UsageError
from rechunk_podman.files import refuse_device, require_distinct, require_writable, write_file
from rechunk_podman.oci.write.output import named_output, require_format


@command
def build(
    context: typer.Context,
    files: BuildFiles,
    image: ImageOptions,
    access: Access,
    job: Annotated[
        Path | None,
        for_work(
            metavar="FILE",
            help="Do the job of FILE (docs/jobs.md), and write result.json beside it. Other options do not "
            "go with it.",
        ),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Write the files of a root filesystem as an image in content-based, reproducible layers."""
    output, tag = named_output(image.output, image.tag)
    written = {"--output": output.path or (None if job else "/dev/stdout"), **files.written()}
    for option, path in written.items():
        if path is not None:
            refuse_device(path, option)
    require_distinct({**written, "--state": image.state})
    set_up_logging(verbose, files.trace_logfile)
    from rechunk_podman.build.documents import manifest_document
    from rechunk_podman.build.job import Job
    from rechunk_podman.build.run import run, run_file

    if job is not None:
        _refuse_options(context)
        run_file(job)
        return
    if as_json and not image.plan_only:
        raise UsageError("--json goes with --plan-only", hint="--write-manifest-to FILE gives the manifest")
    options = replace(image, compression=files.compression(image.compression)).build_options()
    require_format(output, options.format, tag)
    if output.path is None and not image.plan_only and sys.stdout.isatty():
        raise UsageError("standard output is a terminal", hint="redirect it, or give --output PATH")
    for option, file in files.written().items():
        if file is not None:
            require_writable(file, option)
    source = find_rootfs(files.rootfs)
    if not image.plan_only:
        warn_of_output_within(source, output)
    config = given_config(image.config_text(), files.config_str)
    job_of_ours = Job(
        source,
        replace(options, tag=tag),
        output=str(output),
        config=config,
        previous=image.previous,
        plan_only=image.plan_only,
        reuse=image.reuse,
        verify=image.verify_previous,
        recheck=image.verify_previous is True,
        state=image.state,
        registry=access.registry(platform=image.arch),
    )
    with build_progress():
        built = run(job_of_ours)
    if config is None and built.image is not None:
        note_missing_config()
    if built.image is None:
        print_json(built.plan) if as_json else print_plan(built.plan)
    elif files.write_manifest_to is not None:
        write_file(files.write_manifest_to, manifest_document(built.image.manifest, built.prepared))
    if files.write_peak_mem_to is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_file(files.write_peak_mem_to, f"{peak}\n".encode())


def _refuse_options(context: typer.Context) -> None:
    """Raise UsageError if the command line has options that the job sets."""
    for name in context.params.keys() - {"job", "verbose", "trace_logfile"}:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} does not go with --job", hint="the job says what is built")
