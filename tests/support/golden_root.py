"""A root filesystem with one of everything, the same bytes wherever and whenever it is made; needs root."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

from rechunk_podman.packages.digests import MD5
from support.rpm_headers import package

BUILT = 1_700_000_000
"""Build time of the packages, epoch seconds."""
INSTALLED = BUILT + 5_000_000
"""mtime of what the installation wrote."""
NEW_MAGIC = struct.pack("<H", 3495) + b"\r\n"
"""The first bytes of a .pyc of Python 3.11 (PEP 552)."""

ADMIN = "var/lib/dpkg"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def content(name: str, size: int) -> bytes:
    """`size` bytes that the name decides and that do not compress to nothing."""
    return hashlib.shake_128(name.encode()).digest(size // 2) + bytes(size - size // 2)


def stored_gzip(text: str) -> bytes:
    """A gzip file without compression: the same bytes with every version of zlib (RFC 1951, 3.2.4)."""
    data = text.encode()
    block = b"\x01" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + block + struct.pack("<II", zlib.crc32(data), len(data))


def ndb(records: list[bytes]) -> bytes:
    """A Packages.db of rpm's ndb backend that holds these records (lib/backend/ndb/rpmpkg.c)."""
    slots, blobs, block = b"", b"", 4096 // 16
    for number, record in enumerate(records, 1):
        length = -(-(16 + len(record)) // 16)
        slots += b"Slot" + struct.pack("<III", number, block, length)
        blobs += (b"BlbS" + struct.pack("<III", number, 1, len(record)) + record).ljust(16 * length, b"\0")
        block += length
    head = (b"RpmP" + struct.pack("<III", 0, 1, 1)).ljust(32, b"\0")
    unused = (4096 - len(head) - len(slots)) // 16
    return head + slots + (b"Slot" + bytes(12)) * unused + blobs


class GoldenRoot:
    """The root filesystem at `top`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir()
        top.chmod(0o700)

    def file(self, path: str, data: bytes | str, *, mode: int = 0o644, mtime: int = INSTALLED) -> None:
        """Write a file (and its directories, 0755)."""
        file = Path(os.fsdecode(os.fsencode(self.top) + b"/" + os.fsencode(path)))
        self.directory(str(Path(path).parent))
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        file.chmod(mode)
        os.utime(file, (mtime, mtime))

    def directory(self, path: str, mode: int | None = None) -> None:
        """Make a directory, and those above it with mode 0755."""
        at = self.top
        for name in Path(path).parts:
            at = at / name
            if not at.exists():
                at.mkdir()
                at.chmod(0o755)
        if mode is not None:
            at.chmod(mode)

    def entries(self) -> None:
        """Entries of every kind, with names, owners, times and attributes that tar finds hard."""
        top = self.top
        self.file("usr/bin/tool", content("tool", 70_000), mode=0o4755)
        os.setxattr(top / "usr/bin/tool", "security.capability", CAPABILITY)
        self.directory("etc")
        os.link(top / "usr/bin/tool", top / "usr/bin/alias")
        os.link(top / "usr/bin/tool", top / "etc/alias")
        self.directory("usr/lib")
        (top / "lib").symlink_to("usr/lib")
        (top / "etc/dangling").symlink_to("../../../../" + "t" * 110)
        os.link(top / "etc/dangling", top / "etc/dangling-too", follow_symlinks=False)
        self.directory("tmp", 0o1777)
        self.directory("etc/deep/er", 0o700)
        (top / "etc/deep").chmod(0o750)
        os.setxattr(top / "etc/deep", "user.directory", b"d")
        self.file("etc/empty", b"", mtime=0)
        self.file("etc/future", "x", mtime=8**11 + 5)
        self.file("etc/past", "x", mtime=-5)
        self.file("etc/owned", "x")
        os.chown(top / "etc/owned", 1_234_567, 7_654_321)
        self.file("etc/big-owner", "y")
        os.chown(top / "etc/big-owner", 2**31 + 7, 2**32 - 3)
        self.file("n" * 120, "long name")
        self.file(f"{'d' * 100}/{'e' * 100}/{'f' * 100}/file", "long path")
        self.file(f"opt/{'p' * 120}/prefixed", "its path fits ustar's prefix")
        self.file("etc/\u00fcml\u00e4ut", "UTF-8")
        self.file("etc/not-utf8-\udcff\udcfe", "not UTF-8")
        self.file("etc/new\nline and space", "odd")
        os.mkfifo(top / "etc/fifo", 0o600)
        os.mknod(top / "etc/null", 0o20666, os.makedev(1, 3))
        os.mknod(top / "etc/block", 0o60660, os.makedev(7, 200))
        for name in ("fifo", "null", "block"):
            (top / "etc" / name).chmod(0o640)
        self.file("etc/attributes", "x")
        os.setxattr(top / "etc/attributes", "user.raw", b"\x00\xff\n=1 \x80")
        os.setxattr(top / "etc/attributes", "user.second", b"2" * 1000)
        os.setxattr(top / "etc/attributes", "trusted.overlay.opaque", b"y")
        os.setxattr(top / "etc/attributes", "user.overlay.origin", b"y")
        self.file("srv/keep/page", "kept by an option", mtime=BUILT - 77)
        self.file("srv/page", "not kept", mtime=BUILT - 77)
        self.file("opt/app/data", content("data", 3_000_000))
        self.file("opt/app/more", content("more", 3_000))
        self.file("boot/vmlinuz-6.1.0-1-amd64", content("vmlinuz", 200_000))
        self.file("usr/lib/modules/6.1.0-1-amd64/kernel/fs.ko", content("fs", 30_000))
        self.file("usr/lib/modules/6.1.0-1-amd64/initramfs.img", content("initramfs", 50_000))
        self.file("opt/named/one", "1")
        self.file("opt/named/two", "2", mtime=BUILT - 3)
        os.setxattr(top / "opt/named", "user.component", b"named")
        os.setxattr(top / "opt/named", "user.update-interval", b"weekly")
        os.setxattr(top / "opt/named/two", "user.mtime", b"keep")

    def python(self) -> None:
        """Modules whose byte code records their times, by mtime and by hash."""
        for name, flags, recorded in (("timed", 0, INSTALLED), ("hashed", 1, 7), ("stale", 0, INSTALLED - 1)):
            self.file(f"usr/lib/python3/{name}.py", f"# {name}\n")
            header = NEW_MAGIC + struct.pack("<III", flags, recorded, 9)
            self.file(f"usr/lib/python3/__pycache__/{name}.cpython-311.pyc", header + name.encode())

    def dpkg(self, version: str, changed: str) -> None:
        """Two binary packages of one source and one that has no changelog.

        Args:
            version: of the first source. changed: content of one of its files.
        """
        self.directory("usr/share/doc")
        installed = [
            ("libalpha1", "alpha", version, {"usr/lib/libalpha.so.1": changed, "usr/share/alpha/a": "a"}),
            ("alpha-tools", "alpha", version, {"usr/bin/alpha": "tools", "usr/lib/python3/timed.py": ""}),
            ("beta", "beta", "2.0-1", {"usr/bin/beta": "beta", "usr/share/beta/b": "b"}),
        ]
        log = "alpha (1.0) unstable; urgency=low\n\n  * x\n\n -- A <a@b>  Tue, 14 Nov 2023 22:13:20 +0000\n"
        status = ""
        for name, source, number, files in installed:
            for path, text in files.items():
                if text:
                    self.file(path, text, mtime=BUILT - 1000 if name == "libalpha1" else INSTALLED)
            listed = [f"/{path}" for path in files]
            if source == "alpha":
                self.file(f"usr/share/doc/{name}/changelog.Debian.gz", stored_gzip(log))
                listed.append(f"/usr/share/doc/{name}/changelog.Debian.gz")
            sums = "".join(
                f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}  {path}\n"
                for path, text in files.items()
                if text
            )
            self.file(f"{ADMIN}/info/{name}.list", "\n".join(["/.", "/usr", *listed]) + "\n")
            self.file(f"{ADMIN}/info/{name}.md5sums", sums)
            status += f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
            status += f"Source: {source}\nVersion: {number}\n\n"
        self.file(f"{ADMIN}/status", status)

    def rpm(self) -> None:
        """Two packages in a database of the ndb kind; a file of one of them was changed since."""
        self.file("usr/lib/gamma/one", "1", mtime=BUILT - 10)
        self.file("usr/lib/gamma/two", "2", mtime=BUILT + 10)
        self.file("usr/lib/delta/three", content("three", 9_000), mtime=BUILT - 20)
        (self.top / "usr/lib/delta/link").symlink_to("three")
        os.utime(self.top / "usr/lib/delta/link", (INSTALLED, INSTALLED), follow_symlinks=False)
        os.link(self.top / "usr/lib/delta/three", self.top / "usr/lib/delta/again")
        delta = ["/usr/lib/delta/again", "/usr/lib/delta/link", "/usr/lib/delta/three"]
        records = [
            package(
                "gamma-libs",
                self.top,
                ["/lib/gamma/one", "/usr/lib/gamma/two"],
                source="gamma-1.5-3",
                built=BUILT,
                changes=[BUILT - 100, BUILT - 900_000],
            ),
            package("delta", self.top, delta, built=BUILT + 60, FILEDIGESTALGO=MD5, FILEDIGESTS=[""] * 3),
        ]
        self.file("usr/lib/sysimage/rpm/Packages.db", ndb(records))
        self.file("usr/lib/gamma/two", "3", mtime=BUILT + 20)


def make_golden(top: Path, release: int = 1) -> Path:
    """Make the root filesystem of release 1 or 2 at `top`, which does not exist."""
    root = GoldenRoot(top)
    root.entries()
    root.python()
    root.dpkg(f"1.{release}-1", f"alpha {release}")
    root.rpm()
    if release > 1:
        root.file("opt/app/more", content("more, again", 3_100))
        root.file("opt/new/file", "new")
    return top
