"""From an image in storage into registries: chunked in place into a layout of what is new, and pushed.

No layer goes through containers-storage, which would compress it once more and forget its annotations.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rechunk_podman.build.previous import Previous
from rechunk_podman.log import NOTE
from rechunk_podman.oci.documents import ImageRecord, image_record, parse_manifest, sha256_of
from rechunk_podman.oci.read.image import blob_name
from rechunk_podman.oci.reference import LocationKind, Pinned, Target
from rechunk_podman.oci.sparse import SPARSE_FILE, Sparse, parse_sparse
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs import space
from rechunk_podman.programs.podman import mounted
from rechunk_podman.programs.process import find, local_environment
from rechunk_podman.publish import push
from rechunk_podman.publish.push import LostBlobsError
from rechunk_podman.registry import state
from rechunk_podman.registry.access import Registry, private_credentials
from rechunk_podman.split import in_place as native
from rechunk_podman.split.request import Progress, Request, tool_environment, work_directory, write

log = logging.getLogger(__name__)

LAYOUT = native.LAYOUT
ROUNDS = 3
"""As written, without the blobs that are lost, without any blob of the previous image."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be published, and where.

    request: its tag is not used. targets: at least one. previous: the image before.
    reuse: whether its blobs may be named again, where it is in the first target's repository.
    verify: whether these are fetched and hashed first; None: unless the previous image is trusted.
    state_file: where the push is recorded for the next one.
    by_digest: the first target's repository gets the image, and no tag moves: an index will name it.
    """

    request: Request
    targets: tuple[Target, ...]
    registry: Registry
    previous: Previous | None = None
    reuse: bool = True
    verify: bool | None = None
    state_file: str | None = None
    by_digest: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What was published. reused: digests of the blobs that the repository had."""

    record: ImageRecord
    digest: Digest
    reused: frozenset[Digest]


def publish(publication: Publication, progress: Progress) -> Published:
    """Splits and pushes. Must run as root, be it that of a user namespace.

    A blob that the registry lost is written anew, and the push tried once more.

    Raises:
        ToolError: a tool is missing or failed; the registry denied the push. The tags stay where they were.
        RechunkError: what the chunker reported.
    """
    find("skopeo")
    request, targets = publication.request, publication.targets
    state.load(publication.state_file)
    env = tool_environment(local_environment(), request.workdir)
    with (
        work_directory(request.workdir) as work,
        private_credentials(publication.registry, targets[0].repository) as registry,
    ):
        what, place = "splitting into a layout of the changed layers", str(Path(work).parent)
        space.require(what, place, at_most=request.image.size, level=NOTE)
        write(os.path.join(work, native.CONFIG), request.config)
        progress("mounting", 0, 0)
        with mounted(request.image.id) as root:
            published = _first(publication, registry, root, work, env, progress)
        if publication.by_digest:
            _record(publication, targets[0], published.digest, f"@{publication.registry.platform}")
            return published
        _record(publication, targets[0], published.digest)
        source = Pinned(targets[0].repository, published.digest)
        for target in targets[1:]:
            push.retag(source, [target], registry, tick=lambda: progress("pushing", 0, 0))
            _record(publication, target, published.digest)
    return published


def _first(
    publication: Publication,
    registry: Registry,
    root: str,
    work: str,
    env: dict[str, str],
    progress: Progress,
) -> Published:
    """Writes the layout and pushes it to the first target; again where blobs turn out to be lost."""
    request, target = publication.request, publication.targets[0]
    flags = [
        *request.flags,
        *_registry_flags(registry, target.repository),
        *_previous_flags(publication, work),
    ]
    for rest in reversed(range(ROUNDS)):
        native.chunk(root, work, flags, request.image.size, env, progress)
        published = _read(work)
        progress("pushing", 0, 0)
        try:
            push.copy(
                f"oci:{LAYOUT}",
                Pinned(target.repository, published.digest) if publication.by_digest else target,
                published.digest,
                registry,
                cwd=work,
                tick=lambda: progress("pushing", 0, 0),
            )
            break
        except LostBlobsError as error:
            if not rest or not published.reused:
                raise
            log.warning("%s has lost layers of the previous image: %s", target, ", ".join(error.digests))
            log.warning("they are written anew, and the push is tried once more")
            flags += [f"--without-blob={digest}" for digest in error.digests] if rest > 1 else ["--no-reuse"]
            shutil.rmtree(os.path.join(work, LAYOUT))
    return published


def _registry_flags(registry: Registry, repository: str) -> list[str]:
    """The same access for the chunker, which reads the previous image, if that is in the repository."""
    flags = []
    if registry.tls_verify is not None:
        flags.append(f"--tls-verify={str(registry.tls_verify).lower()}")
    if (authfile := registry.authfile_for(repository)) is not None:
        flags.append(f"--authfile={authfile}")
    if registry.cert_dir is not None:
        flags.append(f"--cert-dir={registry.cert_dir}")
    return flags


def _previous_flags(publication: Publication, work: str) -> list[str]:
    """The chunker gets an image whose blobs count by its digest, of any other only its config."""
    previous = publication.previous
    if previous is None:
        return []
    same = previous.repository == publication.targets[0].repository
    if not (publication.reuse and same and previous.kind is LocationKind.REGISTRY):
        if publication.reuse and previous.repository is not None:
            log.warning("blobs of %s are not reused: it is another repository", previous.reference)
        return list(native.previous_flags(previous.record.config_bytes, work))
    verify = not previous.trusted if publication.verify is None else publication.verify
    return [f"--previous={previous.reference}", "--verify-previous" if verify else "--no-verify-previous"]


def _read(work: str) -> Published:
    """What the chunker wrote."""
    folder = Path(work)
    manifest = (folder / native.MANIFEST).read_bytes()
    digest = sha256_of(manifest)
    config = (
        folder / LAYOUT / blob_name(parse_manifest(manifest, "the manifest").config.digest)
    ).read_bytes()
    sparse = folder / LAYOUT / SPARSE_FILE
    said = parse_sparse(sparse.read_bytes(), SPARSE_FILE) if sparse.exists() else Sparse(frozenset(), None)
    return Published(image_record("the result", manifest, config), digest, said.elsewhere)


def _record(publication: Publication, target: Target, digest: Digest, suffix: str = "") -> None:
    if publication.state_file is not None:
        known = state.load(publication.state_file)
        state.save(known.pushed(target.repository, target.tag + suffix, digest), publication.state_file)
