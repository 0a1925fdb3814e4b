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
from rechunk_podman.oci.reference import Target
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs.podman import Image
from rechunk_podman.registry.access import DEFAULT, Registry

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes done, and bytes there are to do (0 if unknown)."""


class Engine(str, Enum):
    """Where the chunker runs: in the chunker image, as a child process, or as split finds it best."""

    AUTO = "auto"
    BUILDAH = "buildah"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """One call of split.

    image: name, digest reference or id of an image in storage, or name of a list of images.
    options: what decides the result.
    identity: what the result says it is.
    config: text of another image config than that of the image.
    output: as `build --output` takes it, the path absolute; None: storage, or where `push` says.
    push: where the result is pushed instead; the first is uploaded.
    chunker: name of the chunker image; None: the usual one, if it is at hand.
    previous: reference of the image before this one; None: what the result replaces.
    reuse, verify, state: see Job.
    workdir: where temporary files go; None: TMPDIR, else /var/tmp.
    plan_only: write no image.
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


@dataclass(frozen=True, slots=True)
class Task:
    """One image to split.

    job: its root filesystem and its output are the engine's.
    tag: the full name of the result in storage.
    registry: access to registries, with the platform of the image.
    previous: the image before this one.
    untagged: ids of the images in storage that have no name.
    """

    image: Image
    job: Job
    tag: str
    registry: Registry = DEFAULT
    previous: Previous | None = None
    untagged: tuple[str, ...] = ()
    workdir: str | None = None


@dataclass(frozen=True, slots=True)
class SplitImage:
    """One image that was split.

    source: id of the image in storage.
    record: the documents of the result.
    reused: digests of the blobs that were not written, since the repository has them.
    platform: os/architecture[/variant].
    previous: reference of the image whose blobs these are.
    """

    source: str
    record: ImageRecord
    reused: frozenset[Digest] = frozenset()
    platform: str | None = None
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The result of split.

    name: of the result: in storage, its output, or the first target.
    images: one; of a list one for each platform.
    digest: of what was pushed: a manifest or, of a list, an index.
    id: of the result in storage.
    is_list: an index was pushed.
    plan: see documents.plan_document(), if only that was asked for.
    """

    name: str
    engine: Engine = Engine.NATIVE
    images: tuple[SplitImage, ...] = ()
    digest: Digest | None = None
    id: str | None = None
    is_list: bool = False
    plan: dict[str, Any] | None = None
