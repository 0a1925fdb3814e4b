"""A root filesystem, or an image's layers, as the Subject of the checks. Each content is read once."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from rechunk_podman.lint.checks import Buried, Facts, Subject
from rechunk_podman.lint.content import SMALL, look, wanted
from rechunk_podman.model import Kind, Tree
from rechunk_podman.native import read_files
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.flatten import read_tree
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.tar import Content, Member
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers

ZSTD_CHUNKED = "io.github.containers.zstd-chunked."
"""What the annotations of a zstd:chunked layer begin with (containers/storage, pkg/chunked/internal)."""

_File = tuple[int, str, int, int]
"""Position, path, size in bytes and mtime of a regular file."""

_BATCH = 1 << 20
"""Bytes of files that are read at once."""
_THREADS = 2
"""While one reads, which needs no lock of the interpreter, the other looks at contents."""

_BOOT_LABELS = ("containers.bootc", "ostree.bootable", "ostree.linux", "ostree.commit")
_BOOT_PATHS = ("usr/lib/ostree/prepare-root.conf", "usr/lib/bootc", "sysroot/ostree", "usr/lib/ostree-boot")


def is_bootable(tree: Tree, record: ImageRecord | None) -> bool:
    """Whether an image is one of ostree or bootc: by its labels, else by what these tools need in it."""
    labels = {} if record is None else record.config.labels
    return any(label in labels for label in _BOOT_LABELS) or any(path in tree for path in _BOOT_PATHS)


def of_directory(
    root: Root,
    *,
    name: str | None = None,
    record: ImageRecord | None = None,
    bootable: bool | None = None,
    zstd_chunked: bool = False,
) -> Subject:
    """The Subject of a root filesystem on disk; good as long as `root` is open.

    Args:
        record: the documents of the image that it is mounted from.
        bootable: None finds out.

    Raises:
        RootfsError: something is unreadable, or what no image can hold (a socket, a whiteout).
    """
    tree = scan(root)
    facts = _facts(root, tree)

    def sha256(path: str) -> bytes | None:
        entry = tree.get(path)
        return _hash(root, path) if entry is not None and entry.kind is Kind.FILE else None

    return Subject(
        name or root.path,
        tree,
        facts,
        sha256,
        record,
        bootable=is_bootable(tree, record) if bootable is None else bootable,
        zstd_chunked=zstd_chunked or _is_chunked(record),
    )


def _facts(root: Root, tree: Tree) -> dict[str, Facts]:
    """Return what the contents of files tell, by path, in the order of the tree."""
    regular = np.flatnonzero(tree.column("kind") == Kind.FILE)
    sizes, mtimes = tree.column("size")[regular].tolist(), tree.column("mtime")[regular].tolist()
    found: dict[int, Facts] = {}
    batches: list[list[_File]] = []
    room = 0
    for position, size, mtime in zip(regular.tolist(), sizes, mtimes, strict=True):
        path = tree.paths[position]
        limit = wanted(path, size)
        if limit and size > SMALL:
            facts = look(path, size, _head(root, path, limit))
            if facts is not None:
                found[position] = facts
        elif limit:
            if size > room:
                batches.append([])
                room = _BATCH
            room -= size
            batches[-1].append((position, path, size, mtime))
    with Workers(_THREADS) as workers:
        for _, several in workers.map(_facts_of_batch, ((root, batch) for batch in batches)):
            found.update(several)
    return {tree.paths[position]: found[position] for position in sorted(found)}


def _facts_of_batch(root: Root, batch: list[_File]) -> list[tuple[int, Facts]]:
    """Return what the contents of small files tell, by position; runs in any thread."""
    try:
        data = read_files(root.fd, [file[1:] for file in batch])
    except (OSError, LookupError) as error:
        raise root.unread(error) from error
    found = []
    start = 0
    for position, path, size, _ in batch:
        facts = look(path, size, data[start : start + size])
        start += size
        if facts is not None:
            found.append((position, facts))
    return found


def _head(root: Root, path: str, limit: int) -> bytes:
    descriptor = root.open(path)
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return file.read(limit) or b""
    except OSError as error:
        raise root.error(path, error) from error


def _hash(root: Root, path: str) -> bytes:
    found = hashlib.sha256()
    try:
        with os.fdopen(root.open(path), "rb") as file:
            while chunk := file.read(1 << 20):
                found.update(chunk)
    except OSError as error:
        raise root.error(path, error) from error
    return found.digest()


def of_image(
    image: ImageSource, *, name: str, bootable: bool | None = None, zstd_chunked: bool = False
) -> Subject:
    """The Subject of an image in a layout or an archive; every layer is read once, nothing is unpacked.

    Raises:
        ImageError: a layer is damaged.
    """
    secrets: list[Buried] = []

    def inspect(layer: int, member: Member, content: Content) -> Facts | None:
        limit = wanted(member.path, member.size)
        found = look(member.path, member.size, content.read(limit)) if limit else None
        if found is not None and (found.keys or found.tokens):
            secrets.append(Buried(layer, member.path, found))
        return found

    digest = read_tree(image, look=inspect)
    record = image.record
    return Subject(
        name,
        digest.tree,
        digest.looked,
        digest.sha256.get,
        record,
        tuple(secrets),
        is_bootable(digest.tree, record) if bootable is None else bootable,
        zstd_chunked or _is_chunked(record),
    )


def _is_chunked(record: ImageRecord | None) -> bool:
    return record is not None and any(
        key.startswith(ZSTD_CHUNKED)
        for layer in record.layers
        if layer.descriptor is not None
        for key in layer.descriptor.annotations
    )
