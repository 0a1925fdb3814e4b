"""Explain images by reference: inspect one, compare two by their layers, compare two by their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rechunk_podman.errors import UsageError
from rechunk_podman.explain.download import Update, compare
from rechunk_podman.explain.files import Differences, read_tree_of
from rechunk_podman.explain.files import verify as compare_files
from rechunk_podman.explain.inspect import ImageFacts, describe
from rechunk_podman.oci.read.flatten import TreeDigest
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.registry.documents import image_documents


def inspect(reference: str, registry: Registry = DEFAULT) -> ImageFacts:
    """Return the facts of the image that a reference names; from a registry, only documents are fetched.

    Raises:
        RechunkError: as `image_documents()`.
    """
    return describe(image_documents(reference, registry))


def diff(old: str, new: str, registry: Registry = DEFAULT) -> Update:
    """Return the download of a client that updates from the image `old` to `new`, with reasons.

    Raises:
        RechunkError: as `image_documents()`.
    """
    return compare(inspect(old, registry), inspect(new, registry))


def verify(
    a: str,
    b: str,
    registry: Registry = DEFAULT,
    *,
    selinux: bool = False,
    ignore: Sequence[str] = (),
    skip_special_files: bool = False,
) -> Differences:
    """Return the differences between the files of two images or directories.

    Args:
        registry: access to registries, and the platform that images must have; directories have none.
        selinux, ignore, skip_special_files: as `files.verify()` takes them.

    Raises:
        RechunkError: as `images.open_root()`.
        UsageError: a path to ignore is malformed, or there is a platform for two directories.
    """
    directories = [reference for reference in (a, b) if locate(reference)[0] is LocationKind.DIRECTORY]
    if registry.platform is not None and len(directories) == 2:
        raise UsageError("directories have no platform", hint="leave out --arch")

    def read(reference: str) -> TreeDigest:
        return read_tree_of(
            reference,
            replace(registry, platform=None) if reference in directories else registry,
            prune=ignore,
            keep_selinux=selinux,
            skip_special_files=skip_special_files,
        )

    # Each is read with all cores; both at once would only make more threads compete for them.
    return compare_files(
        read(a), read(b), selinux=selinux, ignore=ignore, skip_special_files=skip_special_files
    )
