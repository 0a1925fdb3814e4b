"""Paths of a Tree: canonical forms. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Callable

from rechunk_podman.model import Kind, Tree

_MAX_LINKS = 40


def canonical(tree: Tree, path: str) -> str | None:
    """A database's path as the Tree has it: "/lib/x" -> "usr/lib/x" where /lib is a symlink.

    Symlinks among the directories are followed inside the root, one in the last component is not:
    it is what was packaged. For many paths use canonicaliser().

    Returns:
        A path of the Tree ("" for the root itself), or None where nothing is there.
    """
    return canonicaliser(tree)(path)


def canonicaliser(tree: Tree) -> Callable[[str], str | None]:
    """canonical() for many paths of one Tree: remembers the directories that it has resolved."""
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


def _walk(tree: Tree, path: str) -> str | None:
    """The path with every symlink followed, the last one too; None where it leads nowhere."""
    pending = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            continue
        entry = tree.get("/".join([*done, name]))
        if entry is None:
            return None
        if entry.kind is Kind.SYMLINK and entry.target is not None:
            links += 1
            if links > _MAX_LINKS:
                return None
            if entry.target.startswith("/"):
                done.clear()
            pending.extend(entry.target.split("/")[::-1])
            continue
        done.append(name)
    return "/".join(done)
