"""The use case split: choose the engine, the previous image and the location of the result."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from dataclasses import replace

from rechunk_podman.build import image_ledger
from rechunk_podman.build.identity import today
from rechunk_podman.build.job import Job
from rechunk_podman.build.previous import Previous, pushed_before, resolve
from rechunk_podman.errors import UsageError
from rechunk_podman.files import spool_directory
from rechunk_podman.log import NOTE, note
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.platform import platform_name
from rechunk_podman.oci.reference import LocationKind, default_tag, normalised_tag
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.write.output import Output, OutputKind
from rechunk_podman.programs import podman, space
from rechunk_podman.programs.leftovers import clear_once
from rechunk_podman.programs.namespace import is_in_namespace, require_mounting, require_root
from rechunk_podman.programs.podman import Image, Podman
from rechunk_podman.programs.process import which
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.documents import AUTO
from rechunk_podman.registry.state import load
from rechunk_podman.split.containerfile import DEFAULT_CHUNKER
from rechunk_podman.split.image_format import with_format
from rechunk_podman.split.in_buildah import NoContainersError, has_triggers, split_in_buildah
from rechunk_podman.split.in_place import split_into_file, split_into_storage
from rechunk_podman.split.inputs import location, outside_storage
from rechunk_podman.split.into_registry import push_image, push_list
from rechunk_podman.split.pull import pull_image
from rechunk_podman.split.request import Engine, Progress, SplitImage, SplitRequest, SplitResult, Task

log = logging.getLogger(__name__)


def split(request: SplitRequest, progress: Progress = lambda phase, done, total: None) -> SplitResult:
    """Split an image of local storage: into storage, a file, or registries.

    Raises:
        UsageError: the request contradicts itself, or the image or this machine cannot fulfil it.
        NamespaceRequiredError: the work needs root, at least of a user namespace; nothing was done yet.
        ToolError: a tool is missing or failed; or there is no space.
        RechunkError: the error of the chunker.
    """
    _check(request)
    clear_once(request.workdir)
    started = time.monotonic()
    result = _split(request, progress)
    log.info("split %sin %.1f s", "and pushed " if request.push else "", time.monotonic() - started)
    return result


def _check(request: SplitRequest) -> None:
    elsewhere = bool(request.push or request.output is not None or request.plan_only)
    if request.engine is Engine.NATIVE and request.chunker is not None:
        raise UsageError(
            "--engine native runs no chunker image", hint="leave out --chunker, or --engine buildah"
        )
    if request.engine is Engine.BUILDAH and elsewhere:
        raise UsageError(
            "--push, --output and --plan-only work in place: --engine buildah cannot do them",
            hint="--engine native",
        )
    if request.push and (request.options.tag is not None or request.output is not None):
        raise UsageError(
            "--push leaves nothing in local storage: --tag and --output do not go with it",
            hint="run split twice, or name the tags as --push docker://REPO:TAG",
        )
    kind = location(request)
    if kind is not LocationKind.STORAGE and not (kind is LocationKind.REGISTRY and request.into_storage):
        if request.engine is Engine.BUILDAH:
            raise UsageError(
                "--engine buildah splits images of local storage alone",
                context=[f"it is not there: {request.image or request.rootfs}"],
                hint="--engine native",
            )
    elif elsewhere or request.engine is Engine.NATIVE:
        require_mounting()


def _split(request: SplitRequest, progress: Progress) -> SplitResult:
    kind = location(request)
    if kind is LocationKind.DOCUMENT or (kind is LocationKind.DIRECTORY and request.rootfs is None):
        raise UsageError(
            f"not an image: {request.image}",
            hint="name an image; --rootfs DIR --config FILE splits a directory",
        )
    if kind is not LocationKind.STORAGE and not (kind is LocationKind.REGISTRY and request.into_storage):
        return _split_outside(request, kind, progress)
    if kind is LocationKind.REGISTRY:
        arch = request.options.arch
        name = pull_image(request.image, request.registry, arch, lambda: progress("pulling", 0, 0))
        request = replace(request, image=name)
    with podman.connect() as service:
        members = service.instances(request.image)
        if members is not None:
            _require_one_push(request, len(members))
            require_root()
            target = str(request.push[0])
            tasks = [
                _task(request, service, service.resolve(member), target, of_list=True) for member in members
            ]
        else:
            image = service.resolve(request.image)
            target = _target(request, image)
            engine, pull = _engine(request, service, image)
            if engine is Engine.NATIVE:
                require_root()
                require_mounting()
            tasks = [_task(request, service, image, target)]
    if members is not None:
        return push_list(tasks, request, progress)
    if is_in_namespace() or os.geteuid() != 0:
        log.warning(
            "storage of an ordinary user holds no device nodes: where the image has some, the result has none"
        )
    (task,) = tasks
    if request.push:
        split_image, digest = push_image(task, request, progress)
        return SplitResult(target, images=(split_image,), digest=digest)
    _show_room(request, image)
    if not request.into_storage:
        return _into_file(request, task, progress)
    engine = _into_storage(request, task, engine, progress, pull=pull)
    return _made(task, engine)


def _split_outside(request: SplitRequest, kind: LocationKind, progress: Progress) -> SplitResult:
    """Split an image that is not in storage; storage is used only if the result goes there."""
    source = request.registry
    if request.push:
        source = source.only_for(request.push[0].repository)
    image = outside_storage(request, kind, replace(source, platform=request.options.arch))
    if request.push:
        target = str(request.push[0])
    elif request.options.tag is not None and request.output is None:
        target = normalised_tag(request.options.tag)
    elif request.into_storage:
        raise UsageError(
            f"the result of {image.id} needs a name in local storage",
            hint="-t NAME; or write it elsewhere: --output oci:DIR, --push docker://REPO:TAG",
        )
    else:
        target = request.image or "image"
    with ExitStack() as stack:
        service = None
        if request.into_storage:
            require_root()
            service = stack.enter_context(podman.connect())
        task = _task(request, service, image, target)
    task = replace(task, kind=kind, source=source)
    if request.push:
        split_image, digest = push_image(task, request, progress)
        return SplitResult(target, images=(split_image,), digest=digest)
    _show_room(request, image)
    if not request.into_storage:
        return _into_file(request, task, progress)
    split_into_storage(task, progress)
    return _made(task, Engine.NATIVE)


def _into_file(request: SplitRequest, task: Task, progress: Progress) -> SplitResult:
    """Split an image into a layout or archive, or only plan it."""
    result = split_into_file(task, request.output, progress)
    name = request.output or task.tag
    if request.plan_only:
        return SplitResult(name, plan=result.plan)
    record = image_record(name, (result.manifest or "").encode(), (result.config or "").encode())
    return SplitResult(name, images=(SplitImage(task.image.id, record),))


def _made(task: Task, engine: Engine) -> SplitResult:
    """Return the result that is in storage."""
    with podman.connect() as service:
        made = service.resolve(task.tag)
    record = image_record(task.tag, made.manifest, made.config)
    return SplitResult(task.tag, engine, (SplitImage(task.image.id, record),), id=made.id)


def _into_storage(
    request: SplitRequest, task: Task, engine: Engine, progress: Progress, *, pull: bool
) -> Engine:
    """Split by an engine; return the engine used: native if buildah fails and the user did not choose it."""
    if engine is Engine.BUILDAH:
        try:
            split_in_buildah(task, progress, chunker=request.chunker or DEFAULT_CHUNKER, pull=pull)
        except NoContainersError as error:
            if request.engine is Engine.BUILDAH or request.chunker is not None:
                raise
            log.warning("%s: splitting in place instead", error.message)
            require_root()
            require_mounting()
        else:
            return engine
    split_into_storage(task, progress)
    return Engine.NATIVE


def _require_one_push(request: SplitRequest, count: int) -> None:
    """Raise UsageError if a list of `count` images is not pushed, or has one config for all of them."""
    if not request.push or request.plan_only:
        raise UsageError(
            f"{request.image} is a list of {count} images",
            hint="push it whole: --push docker://REPO:TAG; or split one of its images, by id or name",
        )
    if request.config is not None:
        raise UsageError(
            f"--config FILE is for one image, and {request.image} is a list of {count}",
            hint="--label and --annotation change all of them",
        )


def _target(request: SplitRequest, image: Image) -> str:
    """Return the full name of the result in storage, or the first target."""
    if request.push:
        return str(request.push[0])
    if request.options.tag is not None and request.output is None:
        return normalised_tag(request.options.tag)
    return default_tag(request.image, image.id, image.names)


def _engine(request: SplitRequest, service: Podman, image: Image) -> tuple[Engine, bool]:
    """Return the engine, and True if the chunker image has to be pulled.

    Raises:
        UsageError: the engine is buildah, and there is no chunker image.
    """
    if request.engine is Engine.NATIVE or request.push or request.output is not None or request.plan_only:
        return Engine.NATIVE, False
    chunker = request.chunker or DEFAULT_CHUNKER
    at_hand = service.exists(chunker)
    if request.engine is Engine.AUTO and request.chunker is None:
        reason = ""
        if not at_hand:
            reason = f"there is no chunker image {chunker}"
        elif which("buildah") is None:
            reason = "buildah is not installed"
        elif has_triggers(image.config.decode()):
            reason = "the image has ONBUILD instructions, which buildah would run"
        if reason:
            # Without a chunker image this is the usual case, and no news.
            log.log(NOTE if at_hand else logging.INFO, "engine native: %s", reason)
            return Engine.NATIVE, False
        note(log, "engine buildah: the chunker image %s is at hand", chunker)
        return Engine.BUILDAH, False
    if not at_hand and chunker.startswith("localhost/"):
        raise UsageError(
            f"there is no chunker image {chunker}",
            hint=f"buildah build -t {chunker} -f frontend/Containerfile .   (or --engine native)",
        )
    return Engine.BUILDAH, not at_hand


def _task(
    request: SplitRequest, service: Podman | None, image: Image, target: str, *, of_list: bool = False
) -> Task:
    """Return the task for one image; each image of a list has a previous image of its own platform.

    Args:
        service: None if the result does not go into storage.

    Raises:
        RechunkError: the previous image cannot be read, or the labels are malformed.
    """
    registry = _for_platform(request.registry, image, request.options.arch)
    if request.push:
        registry = registry.only_for(request.push[0].repository)
    before, replaced = _previous(request, registry, service, target)
    compared = before
    if request.push and request.options.fresh and (request.attach or request.max_update is not None):
        remembering = replace(request, options=replace(request.options, fresh=False))
        compared, _ = _previous(remembering, registry, service, target)
    config = image.document().decode() if request.config is None else request.config
    identity = request.identity
    if request.options.fresh and request.previous not in (None, AUTO):
        identity = identity.counting_on(request.previous, registry)
    labels = identity.operations(config, None if before is None else before.record.config.labels, today())
    held: tuple[DiffId, ...] = ()
    if request.into_storage and request.options.compression.kind == "none":
        if replaced is not None:
            held = tuple(map(DiffId, _parsed(replaced).diff_ids))
        if before is not None and before.kind is LocationKind.STORAGE:
            held = tuple(dict.fromkeys((*held, *(layer.diff_id for layer in before.record.layers))))
    tag = request.options.tag
    if request.output is None:
        tag = None
    elif tag is None and Output.parse(request.output).kind is OutputKind.DOCKER_ARCHIVE:
        tag = target
    # Labels that were given one by one come last and win.
    options = replace(
        with_format(request, image, of_list=of_list), labels=(*labels, *request.options.labels), tag=tag
    )
    job = Job(
        rootfs="",
        options=options,
        config=config,
        previous=None if before is None else before.reference,
        previous_config=None if before is None else before.record.config_bytes.decode("utf-8", "replace"),
        plan_only=request.plan_only,
        held=held,
    )
    untagged = service.untagged() if service is not None and request.into_storage else ()
    documents = None if compared is None else replace(compared.record, name=compared.reference)
    return Task(image, job, target, registry, before, documents, untagged, request.workdir)


def _for_platform(registry: Registry, image: Image, arch: str | None) -> Registry:
    """Return a Registry that chooses from an index the image of this image's platform."""
    return replace(registry, platform=arch or platform_name(_parsed(image)) or None)


def _parsed(image: Image) -> ImageConfig:
    return ImageConfig.parse(image.config, name=f"the config of image {image.id[:12]}")


def _previous(
    request: SplitRequest, registry: Registry, service: Podman | None, target: str
) -> tuple[Previous | None, Image | None]:
    """Return the previous image (the named one, else the replaced one), and the replaced one in storage.

    Raises:
        UsageError: the reference is malformed. RechunkError: the registry or a tool failed.
    """
    into_storage = not request.push and request.output is None
    replaced = None
    if into_storage and service is not None and service.exists(target):
        replaced = service.resolve(target)
    if request.options.fresh:
        return None, replaced
    state = load(request.state)
    if request.push and request.previous in (None, AUTO):
        return pushed_before(request.push[0], registry, state, auto=request.previous == AUTO), None
    if request.previous is not None:
        return resolve(request.previous, registry, state), replaced
    if replaced is None:
        return None, None
    documents = image_record(target, replaced.manifest, replaced.config)
    has_ledger = image_ledger.inherited(documents.config, target) is not None
    return (Previous(documents, target, LocationKind.STORAGE) if has_ledger else None), replaced


def _show_room(request: SplitRequest, image: Image) -> None:
    """Log the space that the result needs, and the file systems that must have it."""
    if request.plan_only or not image.size:
        return
    if image.driver == "vfs" and request.output is None:
        log.warning(
            "vfs storage keeps a whole copy of the image for each layer: fewer (--max-layers) need less room"
        )
    what, place = "splitting into a temporary layout", request.workdir or spool_directory()
    if request.output is not None:
        what, place = "writing the image", Output.parse(request.output).path or place
    space.require(what, place, at_most=image.size, level=NOTE)
