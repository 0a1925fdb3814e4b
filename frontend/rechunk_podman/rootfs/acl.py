"""POSIX ACLs that files get from a default ACL of their directory when a client unpacks them.

A file that is made in such a directory inherits its default ACL, and chmod(2) does not take it away. An ACL
in the tar entry does: the kernel folds an access ACL that says no more than the mode into the mode, and a
default ACL without entries is none.

Sources: acl(5), "OBJECT CREATION AND DEFAULT ACLs"; linux/posix_acl_xattr.h; posix_acl_from_xattr() and
posix_acl_equiv_mode() in fs/posix_acl.c.
"""

from __future__ import annotations

import struct

import numpy as np

from rechunk_podman.model import Kind, Positions, Tree

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_HEADER = struct.pack("<I", 2)
"""The version. An ACL without entries is none."""
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF


def minimal(mode: int) -> bytes:
    """Return the access ACL that says no more than the permission bits."""
    bits = ((_USER_OBJ, mode >> 6), (_GROUP_OBJ, mode >> 3), (_OTHER, mode))
    return _HEADER + b"".join(_ENTRY.pack(tag, permissions & 7, _NO_ID) for tag, permissions in bits)


def inherited(default: bytes, mode: int) -> bytes:
    """Return the access ACL of a file made below a default ACL, after chmod(2) to these permission bits."""
    body = default[len(_HEADER) :]
    if len(body) % _ENTRY.size:
        return minimal(mode)
    entries = list(_ENTRY.iter_unpack(body))
    if all(tag in (_USER_OBJ, _GROUP_OBJ, _OTHER) for tag, _, _ in entries):
        return minimal(mode)
    bits = {_USER_OBJ: mode >> 6 & 7, _MASK: mode >> 3 & 7, _OTHER: mode & 7}
    return _HEADER + b"".join(_ENTRY.pack(tag, bits.get(tag, own), who) for tag, own, who in entries)


def add_minimal(tree: Tree) -> None:
    """Give each entry of a directory with a default ACL an ACL of its mode alone, where it has none.

    A layer that states it is unpacked to what is there.
    """
    modes = tree.column("mode")
    for position in _entries_of(tree, _with_default(tree)):
        _add(tree, position, minimal(int(modes[position])), _HEADER)


def add_inherited(tree: Tree) -> None:
    """Give each entry of a directory with a default ACL the ACL that it inherits, where it has none.

    Clients do so where they unpack an entry of a layer that states none.
    """
    kinds, modes = tree.column("kind"), tree.column("mode")
    directories = _with_default(tree)
    while len(directories):
        defaults = {position: _acls(tree, position)[DEFAULT] for position in directories.tolist()}
        below: list[int] = []
        for position in _entries_of(tree, directories):
            parent = int(tree.parent[tree.leader.get(position, position)])
            default = defaults[parent]
            inherits = DEFAULT not in _acls(tree, position)
            _add(tree, position, inherited(default, int(modes[position])), default)
            if inherits and kinds[position] == Kind.DIRECTORY:
                below.append(position)
        directories = np.array(below, np.intp)


def _with_default(tree: Tree) -> Positions:
    """Return the positions of the directories with a default ACL."""
    found = [
        position
        for position, (_, _, xattrs) in tree.more.items()
        if any(name == DEFAULT and value != _HEADER for name, value in xattrs)
    ]
    return np.array(sorted(found), np.intp)


def _entries_of(tree: Tree, directories: Positions) -> list[int]:
    """Return the positions of what the directories hold, without symlinks: they have no ACLs.

    The first name of a file decides where it is made, the other names follow it.
    """
    if not len(directories):
        return []
    kinds = tree.column("kind")
    held = np.flatnonzero(np.isin(tree.parent, directories)).tolist()
    made = {position for position in held if position not in tree.leader}
    links = [link for link, leader in tree.leader.items() if leader in made]
    return sorted(position for position in (*made, *links) if kinds[position] != Kind.SYMLINK)


def _acls(tree: Tree, position: int) -> dict[str, bytes]:
    """Return the extended attributes at a position."""
    more = tree.more.get(position)
    return {} if more is None else dict(more[2])


def _add(tree: Tree, position: int, access: bytes, default: bytes) -> None:
    """Set the access ACL, and the default ACL of a directory, where there is none."""
    target, rdev, _ = tree.more.get(position, (None, None, ()))
    xattrs = _acls(tree, position)
    xattrs.setdefault(ACCESS, access)
    if tree.column("kind")[position] == Kind.DIRECTORY:
        xattrs.setdefault(DEFAULT, default)
    tree.more[position] = (target, rdev, tuple(sorted(xattrs.items())))
