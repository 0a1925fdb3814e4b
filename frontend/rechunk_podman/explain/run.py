"""Explain images by reference: inspect one, compare two by their layers, compare two by their files."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.explain.download import Update, compare
from rechunk_podman.explain.files import Differences, read_tree_of
from rechunk_podman.explain.files import verify as compare_files
from rechunk_podman.explain.inspect import ImageFacts, describe
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.registry.documents import image_documents


def inspect(reference: str, registry: Registry = DEFAULT) -> ImageFacts:
    """Return the facts of the image that a reference names; of one in a registry only documents are fetched.

    Raises:
        RechunkError: as `image_documents()`.
    """
    return describe(image_documents(reference, registry))


def diff(old: str, new: str, registry: Registry = DEFAULT) -> Update:
    """Return what a client that has the image `old` downloads for `new`, and why.

    Raises:
        RechunkError: as `image_documents()`.
    """
    return compare(inspect(old, registry), inspect(new, registry))


def verify(
    a: str, b: str, *, selinux: bool = False, ignore: Sequence[str] = (), skip_special_files: bool = False
) -> Differences:
    """Return the differences between the files of two images or directories.

    Args:
        selinux, ignore, skip_special_files: as `files.verify()` takes them.

    Raises:
        RechunkError: as `images.open_root()`. UsageError: a path to ignore is malformed.
    """
    one, two = (
        read_tree_of(reference, prune=ignore, keep_selinux=selinux, skip_special_files=skip_special_files)
        for reference in (a, b)
    )
    return compare_files(one, two, selinux=selinux, ignore=ignore, skip_special_files=skip_special_files)
