"""skopeo: exact documents of an image in storage, and copies between storage and an OCI layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rechunk_podman.patterns import compile_later
from rechunk_podman.programs.process import run

LOST_BLOB = compile_later(r"open \S*/blobs/sha256/([0-9a-f]{64}): no such file or directory")
"""Part of skopeo's message about a blob that neither the layout nor the destination has."""


def config(image_id: str, env: Mapping[str, str] | None = None) -> bytes:
    """Return the config blob of an image in containers-storage, byte for byte.

    Args:
        image_id: full id, hex digits.

    Raises:
        ToolError: skopeo is not installed or failed.
    """
    return _inspect(["--config"], image_id, env)


def manifest(image_id: str, env: Mapping[str, str] | None = None) -> bytes:
    """Return the manifest of an image in containers-storage, byte for byte; raise as config() does."""
    return _inspect([], image_id, env)


def _inspect(options: list[str], image_id: str, env: Mapping[str, str] | None) -> bytes:
    return run(["skopeo", "inspect", *options, "--raw", f"containers-storage:@{image_id}"], env=env).stdout


def import_layout(
    layout: str,
    name: str,
    *,
    cwd: str,
    env: Mapping[str, str] | None = None,
    tick: Callable[[], None] | None = None,
) -> None:
    """Copy the one image of an OCI layout into containers-storage as `name` (full, with registry and tag).

    The signature policy is not applied: it is for images from elsewhere, and this program made the layout.

    Args:
        layout: path, relative to cwd, without a colon (skopeo takes what follows one for a reference).

    Raises:
        ToolError: skopeo is not installed or failed.
    """
    command = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        f"oci:{layout}",
        f"containers-storage:{name}",
    ]
    run(command, cwd=cwd, env=env, tick=tick)


def export_layout(
    image_id: str,
    layout: str,
    *,
    cwd: str,
    env: Mapping[str, str] | None = None,
) -> None:
    """Copy an image of containers-storage into an OCI layout, with its layers uncompressed, as they are.

    Args:
        image_id: full id, hex digits.
        layout: path, relative to cwd, without a colon.

    Raises:
        ToolError: skopeo is not installed or failed.
    """
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
    run([*command, f"containers-storage:@{image_id}", f"oci:{layout}"], cwd=cwd, env=env)
