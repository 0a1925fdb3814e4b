"""Attach an artifact to an image in a registry: push it, and let clients find it by the digest of the image.

skopeo pushes the artifact, so that every way to a registry that it knows is open. A registry with the
referrers API lists the artifact by itself, as its `subject` says. For others the list is kept under a tag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rechunk_podman.oci import spec
from rechunk_podman.oci.artifact import REPORT, Artifact
from rechunk_podman.oci.documents import sha256_of
from rechunk_podman.oci.read.stores import blob_name
from rechunk_podman.oci.reference import Pinned, host_of
from rechunk_podman.oci.spec import Descriptor
from rechunk_podman.oci.write.documents import LAYOUT_FILE, dump
from rechunk_podman.programs.work import work_directory, write
from rechunk_podman.publish import push
from rechunk_podman.registry.access import Registry, private_credentials
from rechunk_podman.registry.credentials import OnlySkopeoError
from rechunk_podman.registry.referrers import is_listed, keep_under_tag
from rechunk_podman.registry.upload import Repository

log = logging.getLogger(__name__)

LAYOUT = "artifact"


def attach(
    artifact: Artifact,
    subject: Pinned,
    registry: Registry,
    *,
    workdir: str | None = None,
    tick: Callable[[], None] | None = None,
) -> Pinned:
    """Push an artifact to the repository of its subject; return its reference.

    Where only skopeo can reach the registry, nobody can tell if the registry lists it: a warning says so.

    Args:
        subject: the manifest that the artifact refers to.

    Raises:
        ToolError: skopeo is missing or failed, or the registry denied the push.
        RechunkError: the list under the tag of the subject cannot be read or written.
    """
    place = Pinned(subject.repository, artifact.digest)
    with (
        work_directory(workdir) as work,
        private_credentials(registry, subject.repository) as private,
    ):
        write_layout(Path(work) / LAYOUT, artifact)
        push.copy(f"oci:{LAYOUT}", place, artifact.digest, private, cwd=work, tick=tick)
        repository = Repository(subject.repository, private)
        try:
            if not is_listed(repository, subject.digest, artifact.digest, REPORT):
                keep_under_tag(repository, subject.digest, artifact.manifest)
        except OnlySkopeoError as error:
            log.warning(
                "clients find %s if %s has the referrers API: a list under a tag cannot be kept (%s)",
                place,
                host_of(subject.repository),
                error.message,
            )
    log.info("attached %s to %s", artifact.digest, subject)
    return place


def write_layout(path: Path, artifact: Artifact) -> None:
    """Write an OCI layout with one artifact."""
    (path / "blobs" / "sha256").mkdir(parents=True)
    for data in (artifact.manifest, *artifact.blobs.values()):
        write(str(path / blob_name(sha256_of(data))), data)
    top = Descriptor(spec.MEDIA_MANIFEST, artifact.digest, len(artifact.manifest)).to_json()
    write(str(path / "oci-layout"), LAYOUT_FILE)
    write(
        str(path / "index.json"),
        dump({"schemaVersion": 2, "mediaType": spec.MEDIA_INDEX, "manifests": [top]}),
    )
