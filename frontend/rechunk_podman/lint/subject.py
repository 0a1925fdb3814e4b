"""Read a root filesystem, or the layers of an image, into a Subject. Each content is read once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping

import numpy as np

from rechunk_podman.boot.uki import DIRECTORIES
from rechunk_podman.lint.boot import facts_of_boot_file, is_boot_file
from rechunk_podman.lint.checks import Buried, Facts, Subject
from rechunk_podman.lint.content import (
    SMALL,
    TEXTS,
    bytes_wanted,
    facts_of,
    may_be_database,
    may_hold_secrets,
)
from rechunk_podman.model import Kind, Tree
from rechunk_podman.native import read_files
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.read.flatten import TreeDigest
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.read.tar import Content, Member
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import Workers

ZSTD_CHUNKED = "io.github.containers.zstd-chunked."
"""The prefix of the annotations of a zstd:chunked layer (containers/storage, pkg/chunked/internal)."""

_File = tuple[int, str, int, int]
"""Position, path, size in bytes and mtime of a regular file."""

_OSTREE_OBJECTS = "sysroot/ostree/repo/objects/"
"""The names under which ostree's layers hold the contents; paths of the system are hard links to them."""
_BATCH = 1 << 20
"""The largest total of the files that a thread reads in one batch, in bytes."""
_BOOT_LABELS = ("containers.bootc", "ostree.bootable", "ostree.linux", "ostree.commit")
_BOOT_PATHS = ("usr/lib/ostree/prepare-root.conf", "usr/lib/bootc", "sysroot/ostree", "usr/lib/ostree-boot")


def is_bootable(tree: Tree, record: ImageRecord | None) -> bool:
    """Return True for an image of ostree or bootc: by its labels, else by the files that these tools need."""
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
    """Return the Subject of a root filesystem on disk; it can be used as long as `root` is open.

    Args:
        record: the documents of the image that it is mounted from.
        bootable: None: detect it, see is_bootable().

    Raises:
        RootfsError: a file is unreadable, or no image can hold it (a socket, a whiteout).
    """
    tree = scan(root)
    facts = _facts(root, tree)

    def sha256(path: str) -> bytes | None:
        entry = tree.get(path)
        return root.sha256(path) if entry is not None and entry.kind is Kind.FILE else None

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
    """Return path -> Facts of its content, in the order of the tree."""
    regular = np.flatnonzero(tree.column("kind") == Kind.FILE)
    sizes, mtimes = tree.column("size")[regular].tolist(), tree.column("mtime")[regular].tolist()
    found: dict[int, Facts] = {}
    batches: list[list[_File]] = []
    room = 0
    for position, path, size, mtime in zip(
        regular.tolist(), tree.paths_at(regular), sizes, mtimes, strict=True
    ):
        limit = bytes_wanted(path, size)
        if limit and size > SMALL:
            facts = facts_of(path, size, _head(root, path, limit))
            if facts is not None:
                found[position] = facts
        elif limit:
            if size > room:
                batches.append([])
                room = _BATCH
            room -= size
            batches[-1].append((position, path, size, mtime))
    with Workers(max(2, len(os.sched_getaffinity(0)))) as workers:
        for _, several in workers.map(_facts_of_batch, ((root, batch) for batch in batches)):
            found.update(several)
    for directory in DIRECTORIES:
        for position in tree.below(directory):
            facts = _facts_of_boot_file(root, tree, position)
            if facts is not None:
                found[position] = facts
    return {tree.paths[position]: found[position] for position in sorted(found)}


def _facts_of_boot_file(root: Root, tree: Tree, position: int) -> Facts | None:
    path = tree.paths[position]
    if tree.entry(position).kind is not Kind.FILE or not is_boot_file(path):
        return None
    with os.fdopen(root.open(path), "rb", buffering=0) as file:
        try:
            return facts_of_boot_file(path, lambda size: file.read(size) or b"")
        except OSError as error:
            raise root.error(path, error) from error


def _facts_of_batch(root: Root, batch: list[_File]) -> list[tuple[int, Facts]]:
    """Return (position, Facts) of small files. This function runs in any thread."""
    try:
        data = read_files(root.fd, [file[1:] for file in batch])
    except (OSError, LookupError) as error:
        raise root.read_error(error) from error
    found = []
    start = 0
    secret = may_hold_secrets(data)
    for position, path, size, _ in batch:
        facts = facts_of(path, size, data[start : start + size], has_secrets=secret)
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


def of_image(
    image: ImageSource, *, name: str, bootable: bool | None = None, zstd_chunked: bool = False
) -> Subject:
    """Return the Subject of an image in a layout or archive; nothing is unpacked.

    Each layer is read once, and a second time if contents came under names that do not tell what they are
    (ostree).

    Raises:
        ImageError: a layer is damaged.
    """
    secrets: dict[int, list[Buried]] = {}
    names: Mapping[str, str] = {}

    def inspect(layer: int, member: Member, content: Content) -> Facts | None:
        path = names.get(member.path, member.path)
        if is_boot_file(path):
            return facts_of_boot_file(path, content.read)
        limit = bytes_wanted(path, member.size)
        found = facts_of(path, member.size, content.read(limit)) if limit else None
        if found is not None and (found.keys or found.tokens):
            secrets[layer].append(Buried(layer, path, found))
        return found

    def read() -> TreeDigest:
        secrets.update((layer, []) for layer in range(len(image.record.layers)))
        return read_tree(image, look=inspect, digests=lambda path: may_be_database(names.get(path, path)))

    digest = read()
    names = _telling_names(digest.tree)
    if names:
        digest = read()
    record = image.record
    return Subject(
        name,
        digest.tree,
        {path: facts for path, facts in digest.looked.items() if path not in names},
        digest.sha256.get,
        record,
        tuple(itertools.chain.from_iterable(secrets.values())),
        is_bootable(digest.tree, record) if bootable is None else bootable,
        zstd_chunked or _is_chunked(record),
    )


def _telling_names(tree: Tree) -> Mapping[str, str]:
    """Return each name of a file with hard links -> the name by which it is to be read, if it is another."""

    def meaning(path: str) -> tuple[bool, ...]:
        is_object = path.startswith(_OSTREE_OBJECTS)
        return (
            not is_object,
            is_boot_file(path),
            path in TEXTS,
            path.endswith(".pyc"),
            may_be_database(path),
        )

    best: dict[str, str] = {}
    for path, leader in tree.links.items():
        best[leader] = max(best.get(leader, leader), path, key=meaning)
    groups = (
        (name, best[leader]) for pair in tree.links.items() for name, leader in (pair, (pair[1], pair[1]))
    )
    return {name: telling for name, telling in groups if meaning(name) != meaning(telling)}


def _is_chunked(record: ImageRecord | None) -> bool:
    return record is not None and any(
        key.startswith(ZSTD_CHUNKED)
        for layer in record.layers
        if layer.descriptor is not None
        for key in layer.descriptor.annotations
    )
