"""Platforms of images: choose an image by its platform, refuse one of another platform. Pure.

Source: image-spec image-index.md ("platform"), config.md (`architecture`, `os`, `variant`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rechunk_podman.errors import MissingImageError
from rechunk_podman.oci.config import ImageConfig

T = TypeVar("T")

HINT = "name another with --arch, or one image by its digest"


def platform_name(config: ImageConfig) -> str:
    """Return the platform in a config as OS/ARCH[/VARIANT]; "" if it names no architecture."""
    if not config.architecture:
        return ""
    return "/".join(filter(None, (config.os or "linux", config.architecture, config.variant)))


def platform_of(config: ImageConfig) -> dict[str, Any]:
    """Return the platform in a config, in the form of an index."""
    return {"os": config.os, "architecture": config.architecture, "variant": config.variant}


def fitting(entries: Sequence[tuple[T, Mapping[str, Any]]], platform: str | None) -> list[T]:
    """Return the images that are for a platform.

    Variants are compared if both sides name one; without `platform` any variant fits if none is equal.

    Args:
        entries: images, each with its platform in the form of an index.
        platform: [OS/]ARCH[/VARIANT]; None: that of this machine.

    Raises:
        UsageError: `platform` is malformed.
    """
    wanted = ImageConfig().with_architecture(platform)
    found = [
        (image, entry.get("variant") or None)
        for image, entry in entries
        if (entry.get("os"), entry.get("architecture")) == (wanted.os, wanted.architecture)
    ]
    exact = [image for image, variant in found if variant == wanted.variant]
    loose = [
        image for image, variant in found if platform is None or wanted.variant is None or variant is None
    ]
    return exact or loose


def require_platform(name: str, config: ImageConfig, platform: str | None) -> None:
    """Raise an error if an image is for another platform than the requested one.

    An image whose config names no architecture is accepted.

    Args:
        platform: [OS/]ARCH[/VARIANT]; None accepts every image.

    Raises:
        MissingImageError: the image is for another platform. UsageError: `platform` is malformed.
    """
    if platform is None or not config.architecture:
        return
    described = platform_of(config)
    if not fitting([(name, {**described, "os": config.os or "linux"})], platform):
        wanted = platform_name(ImageConfig().with_architecture(platform))
        raise MissingImageError(f"{name} is an image for {platform_name(config)}, not {wanted}", hint=HINT)
