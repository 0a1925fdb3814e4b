"""Puts a root filesystem into a containers-storage as an image, and looks at what is mounted there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from images.cache import call

#: What an imported image says of itself where the caller does not: enough to see that a config survives.
DEFAULT_CONFIG: Mapping[str, Any] = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=hello world"],
    "Cmd": ["/bin/sh"],
    "WorkingDir": "/tmp",
    "ExposedPorts": {"8080/tcp": {}},
    "Volumes": {"/var/lib/data": {}},
    "StopSignal": "SIGQUIT",
    "Labels": {"org.opencontainers.image.title": "a test image", "empty": ""},
}


def oci_layout(
    layers: Sequence[Path],
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    created: str = "2024-02-29T12:00:00Z",
) -> Path:
    """Writes an OCI layout of uncompressed layers, without using anything of rechunk-podman.

    The blobs of layers are symlinks to the tar files, which must stay where they are.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(document: Any) -> tuple[str, int]:
        data = json.dumps(document).encode()
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return f"sha256:{name}", len(data)

    descriptors, diff_ids = [], []
    for layer in layers:
        with layer.open("rb") as file:
            digest = _sha256(file.fileno())
        if not (blobs / digest).exists():
            (blobs / digest).symlink_to(layer.resolve())
        media_type = "application/vnd.oci.image.layer.v1.tar"
        descriptors.append(
            {"mediaType": media_type, "digest": f"sha256:{digest}", "size": layer.stat().st_size}
        )
        diff_ids.append(f"sha256:{digest}")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    image = {
        "created": created,
        "architecture": machine,
        "os": "linux",
        "config": dict(DEFAULT_CONFIG if config is None else config),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": f"layer {n}"} for n in range(len(diff_ids))],
    }
    config_type = "application/vnd.oci.image.config.v1+json"
    config_digest, config_size = put(image)
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest_digest, manifest_size = put(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": config_digest, "size": config_size},
            "layers": descriptors,
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": manifest_type, "digest": manifest_digest, "size": manifest_size}],
    }
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def import_tar(
    archive: Path, name: str, *, env: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
) -> None:
    """Makes `name` (such as localhost/debian:release) in a containers-storage from one tar.

    Args:
        env: says which storage, through CONTAINERS_STORAGE_CONF.
    """
    with tempfile.TemporaryDirectory() as folder:
        layout = oci_layout([archive], Path(folder) / "layout", config=config)
        skopeo_copy(f"oci:{layout}", f"containers-storage:{name}", env=env)


def skopeo_copy(source: str, target: str, *, env: Mapping[str, str] | None = None) -> None:
    """`skopeo copy` with a policy that accepts everything."""
    call("skopeo", "--insecure-policy", "copy", "--quiet", source, target, env=dict(env or {}))


@contextmanager
def mounted(name: str, *, env: Mapping[str, str] | None = None) -> Iterator[Path]:
    """The merged root filesystem of an image in storage, read-only, as root.

    This is what a container would see: overlay's view, in which the last layer's directory wins.
    """
    environment = dict(env or {})
    path = call("podman", "image", "mount", name, env=environment).strip()
    try:
        yield Path(path)
    finally:
        call("podman", "image", "unmount", name, env=environment)


def inspect(name: str, *, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the document of `podman image inspect` for one image."""
    documents = json.loads(call("podman", "image", "inspect", name, env=dict(env or {})))
    assert isinstance(documents, list)
    document = documents[0]
    assert isinstance(document, dict)
    return document


def _sha256(fd: int) -> str:
    state = hashlib.sha256()
    while block := os.read(fd, 1 << 20):
        state.update(block)
    return state.hexdigest()
