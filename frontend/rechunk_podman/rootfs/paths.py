"""Canonical paths: symlinks followed inside the root. Pure; no I/O."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from rechunk_podman.model import Tree

_MAX_LINKS = 40  # path_resolution(7)


def canonical(tree: Tree, path: str) -> str | None:
    """Return the Tree's path for a path in a database: "/lib/x" -> "usr/lib/x" if /lib is a symlink.

    Symlinks among the directories are followed inside the root. A symlink as last component is not: the
    package holds the symlink itself. Use canonicaliser() for many paths.

    Returns:
        A path of the Tree ("" for the root itself), or None if the path does not exist.
    """
    return canonicaliser(tree)(path)


def canonicaliser(tree: Tree) -> Callable[[str], str | None]:
    """Return a function like canonical() for one Tree, which caches resolved directories."""
    known: dict[str, str | None] = {"": ""}

    def resolve(path: str) -> str | None:
        path = path.strip("/")
        if path in tree:
            return path
        head, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return _walk(tree, path)
        if head not in known:
            known[head] = _walk(tree, head)
        directory = known[head]
        if directory is None:
            return None
        full = f"{directory}/{name}" if directory else name
        return full if full in tree else None

    return resolve


def follow(path: str, target_of: Callable[[str], str | None]) -> str:
    """Return the canonical path, with symlinks followed inside the root as after chroot(2).

    Absolute targets start at the root, `..` stops there.

    Args:
        target_of: returns the target of the symlink at a path, None if there is no symlink; the directories
            of the path are canonical.

    Raises:
        OSError: ELOOP: the symlinks form a loop.
    """
    pending = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name == "..":
            del done[-1:]
        elif name not in ("", "."):
            done.append(name)
            target = target_of("/".join(done))
            if target is None:
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done.clear()
            else:
                done.pop()
            pending.extend(target.split("/")[::-1])
    return "/".join(done)


def _walk(tree: Tree, path: str) -> str | None:
    """Return the path with every symlink followed, the last one too; None if the path does not exist."""
    try:
        return follow(path, lambda path: tree[path].target)
    except (KeyError, OSError):
        return None
