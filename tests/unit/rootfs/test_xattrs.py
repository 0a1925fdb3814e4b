"""The extended attributes that a layer holds."""

from __future__ import annotations

import pytest

from rechunk_podman.model import Kind, make_entry
from rechunk_podman.rootfs.xattrs import compared_xattrs, dropped_xattrs, is_dropped


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("trusted.overlay.opaque", True),
        ("user.overlay.origin", True),
        ("user.overlay", False),
        ("user.overlays.x", False),
        ("user.fuseoverlayfs.opaque", True),
        ("user.containers.override_stat", True),
        ("security.evm", True),
        ("security.evmctl", False),
        ("security.selinux", True),
        ("security.capability", False),
        ("system.posix_acl_access", False),
        ("user.component", False),
    ],
)
def test_names(name, dropped):
    assert is_dropped(name, dropped_xattrs()) is dropped


def test_selinux_is_kept_if_asked_for():
    xattrs = (
        ("security.evm", b"1"),
        ("security.selinux", b"2"),
        ("trusted.x", b"3"),
        ("user.overlay.x", b"4"),
        ("user.x", b"5"),
    )
    entry = make_entry([Kind.FILE, *[0] * 8], (None, None, xattrs))
    assert compared_xattrs(entry) == xattrs[3:]
    assert compared_xattrs(entry, keep_selinux=True) == (xattrs[1], *xattrs[3:])
