"""Extended attributes that no layer holds: marks of overlay storage, and of the machine.

Sources: the kernel's Documentation/filesystems/overlayfs.rst; fuse-overlayfs(1); containers/storage.
A mounted overlay hides its own marks: those that are seen belong to a store inside the root filesystem.
"""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.model import NUMBERS, Entry, Kind, Tree, make_entry

_MARKS = ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.", "user.containers.override_stat")
"""Marks of overlay storage: `user.overlay.opaque` would hide lower layers of the client."""
_DROPPED = ("trusted.", "user.overlay.", "user.fuseoverlayfs.", "user.containers.")
SELINUX_LABEL = "security.selinux"
# they are the client's own
_OF_MACHINES = ("security.evm",)

_OPAQUE = "opaque"
_ELSEWHERE = ("metacopy", "redirect", "whiteout")
"""Marks of an entry that is deleted, or whose content or name is kept elsewhere in the store."""

Xattrs = tuple[tuple[str, bytes], ...]


def dropped_xattrs(*, keep_selinux: bool = False) -> tuple[str, ...]:
    """Return the names of the attributes that a layer does not hold; one that ends in a dot is a prefix."""
    return (*_DROPPED, *unread_xattrs(keep_selinux=keep_selinux))


def unread_xattrs(*, keep_selinux: bool = False) -> tuple[str, ...]:
    """Return the names of the attributes that are of no interest."""
    return _OF_MACHINES if keep_selinux else (*_OF_MACHINES, SELINUX_LABEL)


def is_dropped(name: str, dropped: Sequence[str]) -> bool:
    """Return True if dropped_xattrs() contains an attribute."""
    return any(name.startswith(one) if one.endswith(".") else name == one for one in dropped)


def is_mark(name: str) -> bool:
    """Return True if an attribute is a mark of overlay storage."""
    return name.startswith(_MARKS)


def hides_files(kind: int, name: str, value: bytes) -> bool:
    """Return True if a store that loses this mark has other files: deleted ones, or empty ones."""
    mark = name.rpartition(".")[2]
    if mark == _OPAQUE:
        return kind == Kind.DIRECTORY and value[:1] in (b"y", b"x")
    return mark in _ELSEWHERE


def compared_xattrs(entry: Entry, *, keep_selinux: bool = False) -> Xattrs:
    """Return the attributes of an entry that a split must not lose: those of layers, and marks of storage."""
    dropped = dropped_xattrs(keep_selinux=keep_selinux)
    return tuple(item for item in entry.xattrs if is_mark(item[0]) or not is_dropped(item[0], dropped))


def written_root(tree: Tree, mode: int) -> Entry:
    """Return the Entry of `/` as layers hold it: of user 0, without a time, with the label of SELinux alone.

    Args:
        mode: permission bits.
    """
    label = tuple(item for item in tree.root.xattrs if item[0] == SELINUX_LABEL)
    return make_entry([Kind.DIRECTORY, mode, *[0] * (len(NUMBERS) - 2)], (None, None, label))
