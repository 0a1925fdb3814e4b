"""A root filesystem of everything that is rare: what scan, tar and verify have to carry through.

Made in place, in a second, at any time: `make(root)`; less of it with `rootless=True`.
"""

# The names here are bytes, of which pathlib knows nothing.
# ruff: noqa: PTH101, PTH102, PTH103, PTH120, PTH211, S103

from __future__ import annotations

import os
import py_compile
import shutil
import stat
import struct
import sys
from pathlib import Path

from images.cache import cached, pack

VERSION = "1"

#: Every mtime that is not about mtimes.
WHEN = 1_600_000_000

#: As many bytes as ext4, xfs and btrfs allow in one name.
LONGEST_NAME = "n" * 255

#: VFS_CAP_REVISION_2, cap_net_raw in the permitted set, effective (linux/capability.h).
CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)

#: version 2; user::rwx, user:1001:r--, group::r-x, mask::r-x, other::--- (linux/posix_acl_xattr.h).
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 4, 1001),
        (0x04, 5, 0xFFFFFFFF),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)


def tar() -> Path:
    """The same as a tar file, ready to import, device nodes included; needs root."""

    def build(folder: Path) -> None:
        root = folder / "root"
        root.mkdir()
        make(root)
        pack(root, folder / "root.tar")
        shutil.rmtree(root)

    return cached("oddities", VERSION, build) / "root.tar"


def make(root: Path, *, rootless: bool = False) -> None:
    """Fills the existing directory `root`.

    rootless: without what an ordinary user's storage cannot hold: devices, owners that no namespace maps, and
    hard links of symlinks and FIFOs (vfs copies every layer into the next, and these come apart).
    """
    base = os.fsencode(root)
    for part in (_names, _links, _modes, _xattrs, _sizes, _python):
        part(base)
    os.mkdir(_path(base, "special"))
    os.mkfifo(_path(base, "special/fifo"))
    os.chmod(_path(base, "special/fifo"), 0o642)
    if not rootless:
        _special(base)
    _owners(base, large=not rootless)
    _settle(base)
    _times(base)


def _path(base: bytes, path: str | bytes) -> bytes:
    return base + b"/" + (path if isinstance(path, bytes) else path.encode())


def _directory(base: bytes, path: str | bytes, mode: int = 0o755) -> None:
    os.makedirs(_path(base, path), exist_ok=True)
    os.chmod(_path(base, path), mode)


def _file(base: bytes, path: str | bytes, content: bytes = b"", mode: int = 0o644) -> bytes:
    full = _path(base, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(content)
    os.chmod(full, mode)
    return full


def _names(base: bytes) -> None:
    for name in (
        b"caf\xc3\xa9",
        b"latin-1 \xe9\xff\xfe",
        b"new\nline",
        b" leading and trailing ",
        b"tab\tand\x01control\x7f",
        b"back\\slash",
        b"star*question?[bracket]",
        b"-dash",
        b"$(echo dollar)`tick`'quote\"",
        b"a=b",
        b"a-b",
        b".hidden",
        b".wh",
        b"...",
    ):
        _file(base, b"names/" + name, b"I am " + name)
        _directory(base, b"names/dir-" + name)
        _file(base, b"names/dir-" + name + b"/" + name, name)
    # 100 and 155 are the limits of a USTAR name and its prefix
    for length in (99, 100, 101, 154, 155, 156, 254, 255):
        _file(base, "lengths/" + "x" * length, str(length).encode())
    _file(base, "lengths/" + "/".join("p" * 50 for _ in range(3)) + "/" + "q" * 99, b"fits a prefix")
    deep = "lengths/" + "/".join([LONGEST_NAME] * 5)
    _file(base, deep + "/" + LONGEST_NAME, b"far beyond PATH_MAX of a tar header")
    _file(base, b"lengths/" + b"\xff" * 255, b"long and not UTF-8")
    os.symlink("t" * 100, _path(base, "lengths/symlink-100"))
    os.symlink("t" * 101, _path(base, "lengths/symlink-101"))
    os.symlink("/".join([LONGEST_NAME] * 4), _path(base, "lengths/symlink-1023"))
    os.symlink(b"\xe9\xff target", _path(base, b"lengths/symlink \xe9"))


def _links(base: bytes) -> None:
    _file(base, "links/a/original", b"linked thrice, across directories\n", 0o4755)
    for name in ("links/a/second", "links/b/third", "before/a-link"):
        os.makedirs(os.path.dirname(_path(base, name)), exist_ok=True)
        os.link(_path(base, "links/a/original"), _path(base, name))
    os.setxattr(_path(base, "links/a/original"), "user.shared", b"by all of them")
    _file(base, "links/empty", b"")
    os.link(_path(base, "links/empty"), _path(base, "links/empty-too"))
    _file(base, "links/" + "h" * 200, b"a long name to link to")
    os.link(_path(base, "links/" + "h" * 200), _path(base, "links/to-a-long-name"))
    os.symlink("anything", _path(base, "links/symlink"))
    for name, target in {
        "absolute-inside": "/links/a/original",
        "absolute-outside": "/etc/passwd",
        "up-and-out": "../../../../../../../../etc/passwd",
        "to-directory": "a",
        "absolute-directory": "/links/b",
        "dangling": "nowhere/at/all",
        "loop-1": "loop-2",
        "loop-2": "loop-1",
        "itself": "itself",
        "dot": ".",
        "root": "/",
        "proc": "/proc/self/root",
    }.items():
        os.symlink(target, _path(base, "links/" + name))


def _modes(base: bytes) -> None:
    for mode in (0o0, 0o400, 0o111, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777):
        _file(base, f"modes/file-{mode:04o}", f"{mode:o}\n".encode(), mode)
    for mode in (0o0, 0o700, 0o750, 0o755, 0o1777, 0o2775, 0o555, 0o7777):
        path = f"modes/dir-{mode:04o}"
        _directory(base, path)
        _file(base, path + "/inside", b"x", 0o600)
        _directory(base, path + "/empty", mode)
        os.chmod(_path(base, path), mode)
    # two components under one closed directory: the directory stands in more than one layer
    _file(base, "closed/one/file", b"1")
    _file(base, "closed/two/file", b"2")
    os.chmod(_path(base, "closed"), 0o750)
    os.chmod(_path(base, "closed/one"), 0o700)


def _xattrs(base: bytes) -> None:
    target = _file(base, "xattrs/file", b"content")
    os.setxattr(target, "user.text", b"value")
    os.setxattr(target, "user.binary", bytes(range(256)))
    os.setxattr(target, "user.nul", b"a\0b\n\0")
    os.setxattr(target, "user.long", b"L" * 2000)
    os.setxattr(target, "user.naïve".encode(), b"a name in UTF-8")
    os.setxattr(_path(base, "xattrs"), "user.on-a-directory", b"yes")
    _directory(base, "xattrs/empty-directory")
    os.setxattr(_path(base, "xattrs/empty-directory"), "user.here", b"\xff\xfe")
    capable = _file(base, "xattrs/capable", b"#!/bin/sh\n", 0o755)
    os.setxattr(capable, "security.capability", CAP_NET_RAW)
    os.link(capable, _path(base, "xattrs/capable-link"))
    controlled = _file(base, "xattrs/acl", b"", 0o750)
    os.setxattr(controlled, "system.posix_acl_access", ACL)
    _directory(base, "xattrs/acl-directory", 0o750)
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        os.setxattr(_path(base, "xattrs/acl-directory"), name, ACL)
    # what no image may carry is left out without a word
    os.setxattr(_file(base, "xattrs/of-storage", b""), "user.containers.anything", b"1")


def _sizes(base: bytes) -> None:
    for size in (0, 1, 511, 512, 513, 1024 * 1024, 1024 * 1024 + 1):
        _file(base, f"sizes/{size}", (bytes(range(251)) * (size // 251 + 1))[:size])
    with open(_path(base, "sizes/sparse"), "wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"an island")
    with open(_path(base, "sizes/only-a-hole"), "wb") as file:
        file.truncate(70_000)
    _directory(base, "empty/a/b/c")


def _python(base: bytes) -> None:
    """A module whose .pyc records its mtime: a changed mtime would have it compiled at every import."""
    module = _file(base, "python/module.py", b"answer = 42\n")
    os.utime(module, (WHEN + 7, WHEN + 7))
    name = f"python/__pycache__/module.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc"
    os.makedirs(_path(base, "python/__pycache__"))
    py_compile.compile(
        os.fsdecode(module),
        cfile=os.fsdecode(_path(base, name)),
        dfile="/python/module.py",
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
    )


def _special(base: bytes) -> None:
    os.link(_path(base, "links/symlink"), _path(base, "links/symlink-hard"), follow_symlinks=False)
    os.link(_path(base, "special/fifo"), _path(base, "special/fifo-link"))
    for name, kind, major, minor in (
        ("null", stat.S_IFCHR, 1, 3),
        ("block", stat.S_IFBLK, 7, 0),
        ("large-minor", stat.S_IFCHR, 240, 70_000),
    ):
        os.mknod(_path(base, f"special/{name}"), kind | 0o600, os.makedev(major, minor))
        os.chmod(_path(base, f"special/{name}"), 0o666)


def _owners(base: bytes, *, large: bool) -> None:
    """Changing the owner clears setuid and capabilities, so this goes for files of its own."""
    owners = [(0, 0), (1, 2), (1000, 1000), (65534, 65533)]
    if large:
        # 2097151 is the largest number in seven octal digits
        owners += [(2_097_151, 2_097_151), (2_097_152, 0), (4_294_967_294, 3_000_000_000)]
    for uid, gid in owners:
        path = _file(base, f"owners/{uid}-{gid}", b"mine")
        os.chown(path, uid, gid)
        os.symlink("mine", path + b".link")
        os.chown(path + b".link", uid, gid, follow_symlinks=False)
        os.mkdir(path + b".dir")
        os.chown(path + b".dir", uid, gid)
        os.chmod(path, 0o4711)


def _settle(base: bytes) -> None:
    """Set one mtime everywhere, so that every call makes the same root."""
    for folder, directories, files in os.walk(base, topdown=False):
        for name in (*directories, *files):
            os.utime(os.path.join(folder, name), (WHEN, WHEN), follow_symlinks=False)
    os.chmod(base, 0o755)


def _times(base: bytes) -> None:
    second = 1_000_000_000
    for name, when in {
        "before-1970": -86_400 * second,
        "before-1970-fraction": -86_400 * second + 1,
        "epoch": 0,
        "nanoseconds": WHEN * second + 123_456_789,
        "future": 4_102_444_800 * second,
        "eleven-octal-digits": 8_589_934_591 * second,
        "twelve-octal-digits": 8_589_934_592 * second,
    }.items():
        path = _file(base, f"times/{name}", name.encode())
        os.utime(path, ns=(when, when))
    os.utime(_path(base, "times"), (WHEN, WHEN))
    os.utime(_path(base, "python/module.py"), (WHEN + 7, WHEN + 7))
    os.utime(base, (WHEN, WHEN))


if __name__ == "__main__":
    make(Path(sys.argv[1]), rootless="--rootless" in sys.argv[2:])
