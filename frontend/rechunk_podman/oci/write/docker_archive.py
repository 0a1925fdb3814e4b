"""A docker-archive, as `docker save` writes it and `docker load`, podman and skopeo read it.

Source: containers-transports(5) "docker-archive"; the Docker image specification v1.2,
"Combined Image JSON + Filesystem Changeset Format" (manifest.json: Config, RepoTags, Layers).
"""

from __future__ import annotations

from rechunk_podman.oci.write.archive import TarWriter
from rechunk_podman.oci.write.documents import WrittenImage, dump


class DockerArchiveWriter(TarWriter):
    """The Destination `docker-archive:PATH`, whose layers are not compressed."""

    def __init__(self, path: str | None) -> None:
        super().__init__(path, b"", "", ".tar", compressed=False)

    def commit(self, image: WrittenImage) -> None:
        """See Destination."""
        config = image.config_descriptor.digest.removeprefix("sha256:") + ".json"
        manifest = {
            "Config": config,
            "RepoTags": [image.tag] if image.tag else [],
            "Layers": [self.name(layer.diff_id) for layer in image.layers],
        }
        self.add(config, image.config)
        self.add("manifest.json", dump([manifest]))
        self.close()
