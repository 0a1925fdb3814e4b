"""Execute a chunker job: plan or build an image; write the result of a job file beside it."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any

from rechunk_podman.build import image_ledger, pipeline
from rechunk_podman.build.documents import plan_document
from rechunk_podman.build.job import LOG, RESULT, Failure, Job, Result
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Prepared, Source
from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.files import is_stream, spool_directory, write_file
from rechunk_podman.log import NOTE, blobs_to, note, phases_to
from rechunk_podman.oci.config import ImageConfig, docker_only
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.platform import platform_name
from rechunk_podman.oci.reference import STORAGE, LocationKind
from rechunk_podman.oci.reuse import Reuse, reusable
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.write.documents import WrittenImage
from rechunk_podman.oci.write.output import Output, OutputKind
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.programs import space
from rechunk_podman.registry import state, verified
from rechunk_podman.temporary import wait_for_holder

# What only some builds need is imported there: the others start sooner.
if TYPE_CHECKING:
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.registry.access import Registry

log = logging.getLogger("rechunk_podman")

ORDERLY_SECONDS = 5.0
"""The longest time in which a chunker may clean up and end after its caller has died."""


@dataclass(frozen=True, slots=True)
class Built:
    """The result of run(). image: None if only the plan was requested. plan: see plan_document()."""

    prepared: Prepared
    plan: dict[str, Any] = field(default_factory=dict)
    image: WrittenImage | None = None


def run(job: Job) -> Built:
    """Build the image of a job, or plan it.

    Raises:
        RechunkError: the root filesystem, the config, the previous image or the output is not usable.
    """
    registry = _registry(job)
    before = _previous(job, registry)
    with ExitStack() as stack:
        layers = None
        if job.layers is not None:
            from rechunk_podman.oci.read.image import open_image

            layers = stack.enter_context(open_image(job.layers, job.platform))
            folder = Path(stack.enter_context(TemporaryDirectory(dir=job.rootfs)), "rootfs")
            folder.mkdir(mode=0o700)
            job = replace(job, rootfs=str(folder))
        source = Source(job.rootfs, job.config, layers=layers)
        if not job.options.fresh:
            foreign = None
            if before is not None and job.options.adopt:
                from rechunk_podman.build.foreign import copyable, foreign_layers, opened_foreign

                copies = copyable(before, job.options, is_named=_names_blobs(job, before))
                if _may_adopt(job, before, copies):
                    foreign = stack.enter_context(opened_foreign(before, registry, copies))
                elif foreign_layers(before.record):
                    note(
                        log,
                        "no layer of %s that another tool made stays: this output cannot hold their blobs, "
                        "which lie elsewhere or are compressed otherwise (docs/pushing.md)",
                        before.reference,
                    )
            previous, base = _memories(before, job.config, is_missed=foreign is None)
            source = replace(source, previous=previous, base=base, foreign=None if base else foreign)
        return _run(job, source, before)


def _names_blobs(job: Job, before: Previous) -> bool:
    """Return True if the new image names blobs of the previous one again."""
    is_layout = job.plan_only or Output.parse(job.output).kind is OutputKind.OCI
    return job.reuse and before.has_blobs and is_layout


def _may_adopt(job: Job, before: Previous, copies: Reuse) -> bool:
    """Return True if layers of the previous image may stay that another tool made."""
    from rechunk_podman.build.foreign import foreign_layers
    from rechunk_podman.build.previous import compressions

    named: Reuse = {}
    if _names_blobs(job, before):
        named = reusable(before.record, compressions(job.options))
    foreign = {before.record.layers[index].diff_id for index in foreign_layers(before.record)}
    return bool(foreign & {*named, *copies})


def _run(job: Job, source: Source, before: Previous | None) -> Built:
    if job.plan_only:
        configs = [before.record.config] if before else []
        configs += [ImageConfig.parse(job.config)] if job.config is not None else []
        known = {DiffId(text) for config in configs for text in config.diff_ids}
        prepared = pipeline.plan_only(source, job.options, known)
        return Built(prepared, plan_document(prepared, known))
    output = Output.parse(job.output)
    _warn_of_format(job, output)
    seen: list[Prepared] = []

    def scanned(size: int) -> None:
        _require_room(output, job.options, size, "the files")

    def planned(prepared: Prepared, size: int) -> None:
        seen.append(prepared)
        _require_room(output, job.options, size, "the layers to be written")

    if job.held:
        held = dict.fromkeys(job.held)
        image = pipeline.build(source, job.options, output, reuse=held, reuse_from=STORAGE, on_plan=planned)
    elif before is not None and _names_blobs(job, before):
        from rechunk_podman.build import previous as earlier

        image = earlier.build(
            source,
            job.options,
            output,
            before,
            verify=job.verify,
            recheck=job.recheck,
            without=job.lost,
            registry=job.registry,
            on_plan=planned,
        )
    else:
        image = pipeline.build(source, job.options, output, on_scan=scanned, on_plan=planned)
    if job.options.compression.kind != "none":
        written = [layer for layer in image.layers if layer.descriptor.digest not in image.elsewhere]
        verified.remember(
            verified.cache_file(), ((layer.descriptor.digest, layer.diff_id) for layer in written)
        )
    return Built(seen[-1], image=image)


def _warn_of_format(job: Job, output: Output) -> None:
    """Log a warning for the fields of the config that podman will not read, if no format is requested."""
    if job.options.format is not None or output.kind is OutputKind.DOCKER_ARCHIVE or job.config is None:
        return
    if lost := docker_only(ImageConfig.parse(job.config)):
        log.warning(
            "the image is of OCI's format, in which podman ignores %s: --format docker keeps them",
            ", ".join(lost),
        )


def run_file(path: Path) -> None:
    """Execute the job in a file; write the result and the log beside it.

    Raises:
        UsageError: the file holds no job. RechunkError: as run(); the result contains the error, too.
    """
    handler = _Records(path.with_name(LOG))
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG)
    log.debug("the chunker has begun")  # a log without a result means that it was killed
    try:
        job = _with_files_of(path.absolute().parent, Job.from_json(_read(path)))
        log.setLevel(job.log_level)
        if job.follow:
            Thread(target=_end_with_holder, args=(str(path.absolute().parent),), daemon=True).start()
        with phases_to(handler.phase), blobs_to(handler.blob):
            built = run(job)
        image = built.image
        result = Result(plan=built.plan or None)
        if image is not None:
            manifest, config = image.manifest.decode(), image.config.decode()
            result = Result(manifest, config, image.elsewhere)
        write_file(path.with_name(RESULT), result.to_json())
    except RechunkError as error:
        failure = Failure(error.message, error.context, error.hint, error.exit_code)
        with suppress(RechunkError):  # a full disk: the message on stderr has to suffice
            write_file(path.with_name(RESULT), Result(error=failure).to_json())
        raise
    finally:
        handler.close()


def _with_files_of(folder: Path, job: Job) -> Job:
    """Return the job with the paths of the maps and groups files that lie beside it."""
    map_files, groups = (
        tuple(str(folder / name) if (folder / name).exists() else name for name in names)
        for names in (job.options.map, job.options.groups)
    )
    return replace(job, options=replace(job.options, map=map_files, groups=groups))


def _end_with_holder(folder: str) -> None:
    """Wait until no process holds the lock of the directory, then end this process, cleanly if possible."""
    try:
        wait_for_holder(folder)
    except OSError as error:
        log.debug("%s has no lock: %s", folder, error)
        return
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORDERLY_SECONDS)
    os._exit(1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the job {path}", context=[str(error)]) from error


class _Records(logging.FileHandler):
    """A handler that writes log records as JSON lines; on a full disk it loses records silently."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, mode="w", encoding="ascii")

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", {})
        return json.dumps({"level": record.levelno, "message": record.getMessage(), **event})

    def phase(self, name: str, total: int) -> None:
        """Write a record of the beginning of a phase, at any log level."""
        self._event(f"phase: {name}", {"phase": name, "total": total})

    def blob(self, path: str) -> None:
        """Write a record of a complete blob, at any log level."""
        self._event(f"blob: {path}", {"blob": path})

    def _event(self, message: str, event: dict[str, object]) -> None:
        self.handle(logging.makeLogRecord({"levelno": logging.DEBUG, "msg": message, "event": event}))

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore the error."""


def _registry(job: Job) -> Registry:
    """Return the access that chooses from an index the image of the new image's platform."""
    platform = job.registry.platform or job.options.arch
    if platform is None and job.config is not None:
        platform = platform_name(ImageConfig.parse(job.config)) or None
    return replace(job.registry, platform=platform)


def _previous(job: Job, registry: Registry) -> Previous | None:
    if job.options.fresh or job.previous is None:
        return None
    from rechunk_podman.build.previous import Previous, resolve

    if job.previous_config is None:
        # `split` has named it already
        level = logging.DEBUG if job.follow else NOTE
        return resolve(job.previous, registry, state.load(job.state), level=level)
    record = image_record(job.previous, None, job.previous_config.encode())
    return Previous(record, job.previous, LocationKind.DOCUMENT)


def _memories(
    before: Previous | None, config: str | None, *, is_missed: bool
) -> tuple[Ledger | None, Ledger | None]:
    """Return the Ledgers of the previous image and of the base; log a warning for an unusable one.

    Args:
        is_missed: log a warning, too, if the previous image has none.
    """
    own = None
    if before is not None:
        find = image_ledger.remembered if is_missed else image_ledger.inherited
        own = find(before.record.config, before.reference)
    if config is None:
        return image_ledger.memories(own, None)
    return image_ledger.memories(own, image_ledger.inherited(ImageConfig.parse(config), "the image config"))


def _require_room(output: Output, options: BuildOptions, size: int, what: str) -> None:
    """Log the size of the needed space; raise ToolError if there is certainly too little.

    Args:
        size: bytes of the files or layers.
        what: the name of these bytes, for messages.
    """
    try:
        least = space.least(size, compressed=options.compression.kind != "none")
        space.require(what, _place(output), at_most=size, at_least=least)
    except ToolError as error:
        hint = "name a place with room that may be written to (--output); --prune PATH leaves a file out"
        raise ToolError(error.message, context=error.context, hint=hint) from error


def _place(output: Output) -> str:
    """Return a path on the file system to which the image is first written."""
    if output.path is not None:
        return spool_directory() if is_stream(output.path) else output.path
    return "/proc/self/fd/1" if stat.S_ISREG(os.fstat(1).st_mode) else spool_directory()
