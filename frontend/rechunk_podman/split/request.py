"""The request and the result of `split`, and the task of an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rechunk_podman.build.identity import Identity
from rechunk_podman.build.job import Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.previous import Previous
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.reference import LocationKind, Target
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs.podman import Image
from rechunk_podman.registry.access import DEFAULT, Registry

Progress = Callable[[str, int, int], None]
"""A function of the name of the phase, the bytes done, and the bytes in total (0 if unknown)."""


class Engine(str, Enum):
    """The place where the chunker runs: the chunker image, a child process, or the choice of split."""

    AUTO = "auto"
    BUILDAH = "buildah"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """One call of split.

    image: name, digest reference or id of an image in storage, or name of a list of images; or
        `docker://NAME`; or a layout or an archive, with its transport or as a path that begins
        with `/`, `./` or `../`.
    rootfs: a directory that is split in place of an image, with `config`.
    options: the choices that determine the result.
    identity: the version, commit and description of the result.
    config: text of an image config that replaces the image's own; None: keep it.
    output: a value of `build --output` with an absolute path; None: storage, or the targets in `push`.
    push: the targets of a push, in place of storage; blobs are uploaded to the first one only.
    chunker: name of the chunker image; None: the default one, if it is in local storage.
    previous: reference of the previous image; None: the image that the result replaces.
    reuse, verify, state: see Job.
    workdir: directory for temporary files; None: TMPDIR, else /var/tmp.
    plan_only: write no image.
    max_update: the most bytes that a client of the previous image may download; if it were more, nothing is
        pushed.
    attach: the result tells which image it follows, even if the plan is a fresh one.
    """

    image: str
    options: BuildOptions = BuildOptions()  # noqa: RUF009 (frozen)
    identity: Identity = Identity()  # noqa: RUF009 (frozen)
    config: str | None = None
    output: str | None = None
    push: tuple[Target, ...] = ()
    engine: Engine = Engine.AUTO
    chunker: str | None = None
    previous: str | None = None
    reuse: bool = True
    verify: bool | None = None
    state: str | None = None
    registry: Registry = DEFAULT
    workdir: str | None = None
    plan_only: bool = False
    rootfs: str | None = None
    max_update: int | None = None
    attach: bool = False

    @property
    def into_storage(self) -> bool:
        """True if the result goes into local storage."""
        return not self.push and self.output is None and not self.plan_only


@dataclass(frozen=True, slots=True)
class Task:
    """One image to split.

    job: the job for the chunker; the engine sets its root filesystem and output.
    tag: the full name of the result in storage.
    registry: access to registries, with the platform of the image.
    previous: the previous image.
    compared: the documents of the image that clients update from; of a fresh plan only if the request asks.
    untagged: ids of the images in storage that have no name.
    kind: the kind of location that has the image.
    source: access to the registry that has it.
    """

    image: Image
    job: Job
    tag: str
    registry: Registry = DEFAULT
    previous: Previous | None = None
    compared: ImageRecord | None = None
    untagged: tuple[str, ...] = ()
    workdir: str | None = None
    kind: LocationKind = LocationKind.STORAGE
    source: Registry = DEFAULT


@dataclass(frozen=True, slots=True)
class Copy:
    """A further target of a push.

    read: the bytes that were read for it. A blob that was mounted, or was there, was not read.
    """

    target: Target
    read: int


@dataclass(frozen=True, slots=True)
class SplitImage:
    """The result of split for one image.

    source: id of the image in storage, or its reference elsewhere.
    record: the documents of the result.
    reused: digests of the blobs that were not written, because the repository or its registry has them.
    platform: os/architecture[/variant].
    previous: reference of the image whose blobs were reused.
    mounted: the previous image is in another repository of the registry.
    read: the bytes that were read for the upload. A blob that the repository had was not read.
    copies: the further targets, in other repositories or with other tags.
    before: see Task.compared.
    """

    source: str
    record: ImageRecord
    reused: frozenset[Digest] = frozenset()
    platform: str | None = None
    previous: str | None = None
    mounted: bool = False
    read: int = 0
    copies: tuple[Copy, ...] = ()
    before: ImageRecord | None = None


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The result of split.

    name: the name in storage, the output, or the first target.
    images: one image; for a list, one for each platform.
    digest: the digest of the pushed manifest or, for a list, of the index.
    id: the id of the result in storage.
    is_list: an index was pushed.
    plan: see documents.plan_document(); only if the request has `plan_only`.
    """

    name: str
    engine: Engine = Engine.NATIVE
    images: tuple[SplitImage, ...] = ()
    digest: Digest | None = None
    id: str | None = None
    is_list: bool = False
    plan: dict[str, Any] | None = None
