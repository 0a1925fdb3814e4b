"""Split an image of storage into registries: chunk it in place into a layout of the new blobs, and push it.

No layer goes through containers-storage, which would compress it again and lose its annotations.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.build.job import Job, Result
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.download import compare
from rechunk_podman.explain.inspect import describe
from rechunk_podman.explain.limit import require_at_most
from rechunk_podman.log import NOTE
from rechunk_podman.oci.documents import ImageRecord, image_record
from rechunk_podman.oci.reference import Pinned, host_of
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs import space
from rechunk_podman.programs.process import find, local_environment
from rechunk_podman.programs.traffic import bytes_read
from rechunk_podman.programs.work import tool_environment, work_directory
from rechunk_podman.publish import push
from rechunk_podman.publish.ahead import Uploads
from rechunk_podman.publish.index import Instance, publish_index
from rechunk_podman.publish.push import LostBlobsError
from rechunk_podman.registry import state
from rechunk_podman.registry.access import private_credentials
from rechunk_podman.registry.blobs import prepare_mounts
from rechunk_podman.split.in_place import LAYOUT, chunk
from rechunk_podman.split.inputs import with_files, with_previous_layers
from rechunk_podman.split.phases import UPLOADING, Meter
from rechunk_podman.split.request import (
    Copy,
    Progress,
    SplitImage,
    SplitRequest,
    SplitResult,
    Task,
)

log = logging.getLogger(__name__)

ROUNDS = 3
"""Attempts: reuse all unchanged blobs; then only those that are not lost; then none."""


class Chunked(NamedTuple):
    """A layout that was written, and the documents of the image in it."""

    result: Result
    record: ImageRecord


def push_image(
    task: Task, request: SplitRequest, progress: Progress, *, by_digest: bool = False
) -> tuple[SplitImage, Digest]:
    """Split an image and push the result to the targets of the request; return it and its digest.

    This process must be root, at least of a user namespace. If the registry lost a blob, the blob is written
    anew and the push is repeated.

    Args:
        by_digest: push to the first target's repository by digest, without a tag: an index will name it.

    Raises:
        ToolError: a tool is missing or failed, or the registry denied the push. No tag was moved.
        RechunkError: the error of the chunker.
    """
    with _prepared(task, request, progress, by_digest=by_digest) as finish:
        return finish()


@contextmanager
def _prepared(
    task: Task, request: SplitRequest, progress: Progress, *, by_digest: bool
) -> Iterator[Callable[[], tuple[SplitImage, Digest]]]:
    """Yield a function that does what is left of push_image().

    If the request limits the update, the layout is written, and the limit kept, before. Nothing was sent.
    """
    find("skopeo")
    state.load(request.state)
    with (
        work_directory(task.workdir) as work,
        private_credentials(task.registry, request.push[0].repository) as registry,
    ):
        what, place = "splitting into a layout of the changed layers", str(Path(work).parent)
        space.require(what, place, at_most=task.image.size, level=NOTE)
        meter = Meter(progress)
        planned = replace(_with_previous(task, request), output=f"oci:{LAYOUT}", registry=registry)
        with with_files(task, planned, work, meter) as job:
            ready = None if request.max_update is None else _chunked(task, job, request, work, meter)
            yield lambda: _finish(task, job, request, work, meter, ready, by_digest=by_digest)


def _finish(
    task: Task,
    job: Job,
    request: SplitRequest,
    work: str,
    meter: Meter,
    ready: Chunked | None,
    *,
    by_digest: bool,
) -> tuple[SplitImage, Digest]:
    """Push an image to the targets of the request; see push_image().

    Args:
        ready: the layout that is written; None if it is not.
    """
    first, *others = request.push
    image, digest = _push_first(task, job, request, work, meter, ready, by_digest=by_digest)
    platform = task.registry.platform
    _record(request, first.repository, f"{first.tag}@{platform}" if by_digest else first.tag, digest)
    copies = []
    for target in () if by_digest else others:
        source = Pinned(first.repository, digest)
        meter.begin(UPLOADING)
        before = bytes_read()
        push.retag(source, [target], job.registry, tick=meter.tick)
        copies.append(Copy(target, bytes_read() - before))
        _record(request, target.repository, target.tag, digest)
    return replace(image, copies=tuple(copies)), digest


def push_list(tasks: Sequence[Task], request: SplitRequest, progress: Progress) -> SplitResult:
    """Split the images of a list, each for one platform, and push them and an index over them.

    The tags are moved to the index last.

    Raises:
        UsageError: two images are for one platform; nothing was pushed. RechunkError: as push_image().
    """
    seen: dict[str | None, str] = {}
    for task in tasks:
        other = seen.setdefault(task.registry.platform, task.image.id)
        if other != task.image.id:
            raise UsageError(
                f"the list {request.image} has two images for {task.registry.platform}",
                context=[other, task.image.id],
                hint="an index holds one image for each platform: podman manifest remove",
            )
    images, instances = [], []
    with ExitStack() as stack:
        if request.max_update is None:
            pushed = [push_image(task, request, progress, by_digest=True) for task in tasks]
        else:
            # no image is sent before the last one is known to keep the limit
            prepared = [
                stack.enter_context(_prepared(task, request, progress, by_digest=True)) for task in tasks
            ]
            pushed = [finish() for finish in prepared]
    for image, digest in pushed:
        instance = Instance(image.record, str(Pinned(request.push[0].repository, digest)), digest)
        instances.append(instance)
        images.append(replace(image, platform=instance.platform_name))
    digest = publish_index(
        instances,
        request.push,
        request.registry,
        workdir=request.workdir,
        tick=lambda: progress(UPLOADING, 0, 0),
    )
    return SplitResult(str(request.push[0]), images=tuple(images), digest=digest, is_list=True)


def _chunked(
    task: Task,
    job: Job,
    request: SplitRequest,
    work: str,
    meter: Meter,
    ahead: Callable[[str], None] | None = None,
) -> Chunked:
    """Write the layout.

    Args:
        ahead: called with the path of each layer's blob that is complete.

    Raises:
        UpdateTooLargeError: the update is larger than the request allows.
    """
    env = tool_environment(local_environment(), task.workdir)
    result = chunk(job, work, env, meter, ahead)
    record = image_record("the result", (result.manifest or "").encode(), (result.config or "").encode())
    _require_small_update(task, request, record)
    return Chunked(result, record)


def _push_first(
    task: Task,
    job: Job,
    request: SplitRequest,
    work: str,
    meter: Meter,
    ready: Chunked | None,
    *,
    by_digest: bool,
) -> tuple[SplitImage, Digest]:
    """Write the layout and push it to the first target; repeat both if the registry has lost blobs."""
    target, registry = request.push[0], job.registry
    previous = None if task.previous is None else task.previous.reference
    mounting = task.previous is not None and task.previous.repository != target.repository
    layout = os.path.join(work, LAYOUT)
    blobs = os.path.join(layout, "blobs/sha256")
    sent = 0
    for rest in reversed(range(ROUNDS)):
        with Uploads(target.repository, registry) as uploads:
            meter.aside = uploads.bytes_sent
            ahead = None if request.max_update is not None else partial(uploads.add, moved=blobs)
            result, record = ready or _chunked(task, job, request, work, meter, ahead)
            ready = None
            meter.begin_upload(layout)
            uploads.finish(meter.tick)
        sent += uploads.bytes_sent()
        digest = record.digest or Digest("")
        before = bytes_read()
        place = Pinned(target.repository, digest) if by_digest else target
        upload = partial(push.copy, f"oci:{LAYOUT}", place, digest, registry, cwd=work, tick=meter.tick)
        try:
            try:
                upload()
            except LostBlobsError:
                # skopeo knows by itself where the blobs are if they were verified, or pushed, on this machine
                if not mounting or previous is None:
                    raise
                prepare_mounts(previous, result.elsewhere, registry)
                upload()
            break
        except LostBlobsError as error:
            if not rest or not result.elsewhere:
                raise
            if mounting:
                log.warning("the registry did not mount layers of %s in %s", previous, target.repository)
                log.warning("all layers are written and uploaded")
            else:
                log.warning("%s has lost layers of the previous image: %s", target, ", ".join(error.digests))
                log.warning("they are written anew, and the push is tried once more")
            again = rest > 1 and not mounting
            job = replace(job, lost=error.digests) if again else replace(job, reuse=False)
            shutil.rmtree(layout)
        finally:
            sent += bytes_read() - before
    return (
        SplitImage(
            task.image.id,
            record,
            frozenset(result.elsewhere),
            previous=previous,
            mounted=mounting,
            read=sent,
            before=task.compared,
        ),
        digest,
    )


def _require_small_update(task: Task, request: SplitRequest, record: ImageRecord) -> None:
    """Raise UpdateTooLargeError if a client of the previous image would download too much."""
    if request.max_update is None:
        return
    if task.compared is None:
        log.log(NOTE, "--max-update: there is no previous image, so there is no update yet")
        return
    require_at_most(compare(describe(task.compared), describe(record)), request.max_update)


def _with_previous(task: Task, request: SplitRequest) -> Job:
    """Return the job; let it reuse blobs of the previous image if that is in the target's registry."""
    previous = task.previous
    if previous is None or previous.repository is None:
        return with_previous_layers(task)
    if not request.reuse:
        return task.job
    if host_of(previous.repository) != host_of(request.push[0].repository):
        log.warning("blobs of %s are not reused: it is in another registry", previous.reference)
        return task.job
    verify = not previous.trusted if request.verify is None else request.verify
    return replace(task.job, previous_config=None, verify=verify, recheck=request.verify is True)


def _record(request: SplitRequest, repository: str, tag: str, digest: Digest) -> None:
    if request.state is not None:
        state.save(state.load(request.state).pushed(repository, tag, digest), request.state)
