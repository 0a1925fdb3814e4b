"""Compares two root filesystems by lstat, readlink, listxattr and read: a second opinion on `verify`."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Attributes of storage, of the machine or of nobody, which no image carries.
NOT_CARRIED = (
    "trusted.",
    "user.overlay.",
    "user.fuseoverlayfs.",
    "user.containers.",
    "security.evm",
    "security.selinux",
)


@dataclass(frozen=True)
class Seen:
    """The facts of one path. `group`: the first path of its hard-link group."""

    mode: int
    owner: tuple[int, int]
    device: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    group: bytes
    mtime: int


def look(root: Path) -> dict[bytes, Seen]:
    """Every path below `root`, relative to it, as it is."""
    base = os.fsencode(root)
    found: dict[bytes, Seen] = {}
    first: dict[tuple[int, int], bytes] = {}
    for path in sorted(_walk(base)):
        full = base + b"/" + path
        status = os.lstat(full)
        group = path
        if not stat.S_ISDIR(status.st_mode):
            group = first.setdefault((status.st_dev, status.st_ino), path)
        names = sorted(os.listxattr(full, follow_symlinks=False))
        found[path] = Seen(
            mode=status.st_mode,
            owner=(status.st_uid, status.st_gid),
            device=status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0,
            content=_content(full, status.st_mode),
            xattrs=tuple(
                (name, os.getxattr(full, name, follow_symlinks=False))
                for name in names
                if not name.startswith(NOT_CARRIED)
            ),
            group=group,
            mtime=status.st_mtime_ns // 1_000_000_000,
        )
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Return the differences of two root filesystems, one line each, without mtimes and `/` itself."""
    before, after = look(one), look(other)
    lines = [f"{path!r}: only in {one}" for path in before.keys() - after.keys()]
    lines += [f"{path!r}: only in {other}" for path in after.keys() - before.keys()]
    for path in before.keys() & after.keys():
        for field in ("mode", "owner", "device", "content", "xattrs", "group"):
            left, right = getattr(before[path], field), getattr(after[path], field)
            if left != right:
                lines.append(f"{path!r}: {field} {left!r} != {right!r}")
    return sorted(lines)


def _walk(base: bytes) -> Iterator[bytes]:
    def stop(error: OSError) -> None:
        raise error

    for folder, directories, files in os.walk(base, onerror=stop):
        for name in (*directories, *files):
            yield os.path.relpath(os.path.join(folder, name), base)


def _content(full: bytes, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return repr(os.readlink(full))  # noqa: PTH115 (bytes)
    if not stat.S_ISREG(mode):
        return ""
    with open(full, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
