"""Pushes from an OCI layout into registries: one upload, more tags by digest, complete copies elsewhere.

skopeo copies everything. It asks the repository for each blob before it opens the blob of the layout. So a
layout without the blobs that the repository has can be pushed to this repository, and to no other. The bytes
of the image, and so its digest, stay the same.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence

from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.reference import DOCKER, Pinned, Target
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs.process import CommandError, run
from rechunk_podman.programs.skopeo import LOST_BLOB
from rechunk_podman.programs.work import work_directory
from rechunk_podman.registry.access import Registry, private_credentials, sided, skopeo_options
from rechunk_podman.registry.answers import (
    DENIED,
    TLS,
    TLS_HINT,
    SilentError,
    may_pass,
    messages_of,
    reason_of,
)
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.waiting import Wait

log = logging.getLogger(__name__)


class LostBlobsError(ToolError):
    """The repository lacks blobs that the layout, too, leaves out."""

    def __init__(self, target: Target | Pinned, digests: Iterable[Digest]) -> None:
        self.digests = tuple(digests)
        super().__init__(
            f"{target} lacks layers of the previous image",
            context=self.digests,
            hint="--no-reuse writes and uploads every layer",
        )


def push(
    layout: str,
    targets: Sequence[Target],
    digest: Digest,
    registry: Registry,
    *,
    cwd: str,
    whole_index: bool = False,
    tick: Callable[[], None] | None = None,
) -> None:
    """Upload the image of a layout under the first target, and give it the others.

    Args:
        layout: path, relative to cwd, without a colon.
        digest: the digest of its manifest or, with whole_index, of the index in the layout.

    Raises:
        LostBlobsError: the repository lacks a blob that the layout leaves out. Nothing was tagged.
        ToolError: skopeo is missing or failed; the registry denied it, or stored another digest.
    """
    first, *others = targets
    copy(f"oci:{layout}", first, digest, registry, cwd=cwd, whole_index=whole_index, tick=tick)
    retag(Pinned(first.repository, digest), others, registry, whole_index=whole_index, tick=tick)


def retag(
    source: Pinned,
    targets: Sequence[Target],
    registry: Registry,
    *,
    whole_index: bool = True,
    tick: Callable[[], None] | None = None,
) -> None:
    """Give an image in a registry more names. Within its repository, upload only the manifest.

    Raises:
        ToolError: as push().
    """
    for target in targets:
        copy(str(source), target, source.digest, registry, whole_index=whole_index, tick=tick)


def promote(image: str, tags: Sequence[str], registry: Registry) -> tuple[Pinned, list[Target]]:
    """Give an image, named by its digest, more tags in its repository; return it and the new names.

    Raises:
        UsageError: the image is not named by its digest, or a tag is malformed. ToolError: as push().
    """
    source = Pinned.parse(image)
    targets = []
    for tag in tags:
        if names.parse(f"{source.repository}:{tag}").tag != tag:
            raise UsageError(f"not a tag: {tag!r}", hint="letters, digits, `.`, `_` and `-`")
        targets.append(Target(source.repository, tag))
    with private_credentials(registry, source.repository) as private:
        retag(source, targets, private)
    return source, targets


def copy(
    source: str,
    target: Target | Pinned,
    digest: Digest,
    registry: Registry,
    *,
    cwd: str | None = None,
    whole_index: bool = False,
    tick: Callable[[], None] | None = None,
) -> None:
    """Run `skopeo copy`; preserve and compare the digest; retry, with a warning, failures that may pass.

    Raises:
        LostBlobsError: a layout lacks a blob. ToolError: as push().
    """
    there = names.parse(source.removeprefix(DOCKER)).repository if source.startswith(DOCKER) else None
    with (
        skopeo_options(target.repository, registry) as (options, secrets),
        skopeo_options(there or target.repository, registry) as (reading, more),
        work_directory(tempfile.gettempdir()) as folder,
    ):
        file = os.path.join(folder, "digest")
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
        command += ["--all"] if whole_index else []
        command += [sided(option, "dest") for option in options]
        command += [sided(option, "src") for option in reading] if there else []
        command += [f"--digestfile={file}", source, str(target)]
        wait = Wait(target.repository, f"push {target}", registry.timeout, tick)
        hidden = [*secrets, *more]
        try:
            retry(
                lambda: run(
                    command,
                    env=registry.env,
                    cwd=cwd,
                    secrets=hidden,
                    tick=wait.tick,
                    started=wait.started,
                ),
                f"push {target}",
                lambda error: _may_pass(error, target.repository),
                note="; what was uploaded stays",
            )
        except CommandError as error:
            raise _explained(target, error) from error
        with open(file) as said:
            pushed = said.read().strip()
    if pushed != digest:
        raise ToolError(
            f"{target} is not what was to be pushed",
            context=[f"pushed {pushed}, not {digest}"],
            hint="is something in between rewriting manifests?",
        )
    log.info("pushed %s, %s", target, digest)


def _may_pass(error: RechunkError, repository: str) -> bool:
    if isinstance(error, SilentError):
        return True
    return may_pass(error, repository) and not LOST_BLOB.search(reason_of(error))


def _explained(target: Target | Pinned, error: CommandError) -> ToolError:
    said = "\n".join(messages_of(error))
    lost = LOST_BLOB.findall(said)
    if lost:
        return LostBlobsError(target, [Digest(f"sha256:{name}") for name in lost])
    if error.status > 0 and DENIED.search(said):
        return ToolError(
            f"the registry does not let this user push {target}",
            context=[reason_of(error)],
            hint="log in (podman login), or give --authfile FILE or RECHUNK_CREDS=USER:PASSWORD",
        )
    if error.status > 0 and TLS.search(said):
        return ToolError(
            f"no trusted connection to the registry of {target}", context=[reason_of(error)], hint=TLS_HINT
        )
    hint = (
        error.hint or "that tag has not moved: run the same command again, it goes on where this one stopped"
    )
    return ToolError(f"cannot push {target}", context=[error.message, *error.context], hint=hint)
