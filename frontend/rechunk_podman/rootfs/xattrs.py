"""Extended attributes that no layer holds: marks of overlay storage, and of the machine."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.model import Entry

# `user.overlay.opaque` would hide lower layers; a client's own policy sets the label of SELinux
_DROPPED = ("trusted.", "user.overlay.", "user.fuseoverlayfs.", "user.containers.", "security.evm")
_SELINUX = "security.selinux"

Xattrs = tuple[tuple[str, bytes], ...]


def dropped_xattrs(*, keep_selinux: bool = False) -> tuple[str, ...]:
    """Return the names of the attributes that a layer does not hold; one that ends in a dot is a prefix."""
    return _DROPPED if keep_selinux else (*_DROPPED, _SELINUX)


def is_dropped(name: str, dropped: Sequence[str]) -> bool:
    """Return True if an attribute is one of dropped_xattrs()."""
    return any(name.startswith(one) if one.endswith(".") else name == one for one in dropped)


def kept_xattrs(entry: Entry, *, keep_selinux: bool = False) -> Xattrs:
    """Return the attributes of an entry that a layer holds."""
    dropped = dropped_xattrs(keep_selinux=keep_selinux)
    return tuple(item for item in entry.xattrs if not is_dropped(item[0], dropped))
