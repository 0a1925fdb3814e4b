"""Databases of apk, pacman, portage, xbps and Nix that would cost memory or time without end."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from faults.bombs import write

APK = "lib/apk/db/installed"
ALPM = "var/lib/pacman/local"
PORTAGE = "var/db/pkg"
XBPS = "var/db/xbps"
PLIST = b'<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">%s</plist>\n'


def apk_million_packages(root: Path) -> None:
    """A million packages without a file."""
    write(root, APK, b"P:a\nV:1\n\n" * 1_000_000)


def apk_million_files(root: Path) -> None:
    """A package of three million files."""
    write(root, APK, b"P:a\nV:1\nF:usr\n" + b"R:aaaaaaaaaaaa\n" * 3_000_000)


def apk_long_line(root: Path) -> None:
    """A line of 60 MB with a character that is four bytes wide."""
    write(root, APK, b"P:a\nV:" + "\U0001f4a3".encode() * 15_000_000 + b"\n\n")


def apk_huge(root: Path) -> None:
    """A sparse gigabyte."""
    write(root, APK, b"P:a\nV:1\n\n")
    os.truncate(root / APK, 1 << 30)


def _alpm(root: Path, name: str, **files: bytes) -> None:
    described = f"%NAME%\n{name}\n\n%VERSION%\n1-1\n\n".encode()
    for file, content in {"desc": described, "files": b"%FILES%\nusr/\n", **files}.items():
        write(root, f"{ALPM}/{name}-1-1/{file}", content)


def alpm_mtree_of_zeros(root: Path) -> None:
    """An mtree of a megabyte is a gigabyte when it is decompressed."""
    _alpm(root, "a", mtree=gzip.compress(b"\0" * (1 << 30), 1))


def alpm_mtree_of_lines(root: Path) -> None:
    """200 packages have an mtree of 190,000 lines each."""
    packed = gzip.compress(b"./a mode=644 size=1\n" * 190_000, 1)
    for number in range(200):
        _alpm(root, f"p{number}", mtree=packed)


def alpm_many_files(root: Path) -> None:
    """20 packages list 190,000 files each."""
    listed = b"%FILES%\n" + b"".join(b"usr/share/%d\n" % number for number in range(190_000))
    for number in range(20):
        _alpm(root, f"p{number}", files=listed)


def portage_many_files(root: Path) -> None:
    """20 packages list 190,000 files each."""
    line = b"obj /usr/share/%d 00000000000000000000000000000000 1\n"
    listed = b"".join(line % number for number in range(190_000))
    for number in range(20):
        write(root, f"{PORTAGE}/a/p-{number}/CONTENTS", listed)


def portage_line_of_arrows(root: Path) -> None:
    """A line of 15 MB could be a symlink in five million ways."""
    write(root, f"{PORTAGE}/a/p-1/CONTENTS", b"sym /a" + b" ->" * 5_000_000 + b"\n")


def portage_line_of_digests(root: Path) -> None:
    """A line of 30 MB could be a file in a million ways."""
    write(
        root,
        f"{PORTAGE}/a/p-1/CONTENTS",
        b"obj /a" + b" 00000000000000000000000000000000" * 900_000 + b" x\n",
    )


def xbps_deep(root: Path) -> None:
    """Three million arrays, each in the one before."""
    write(root, f"{XBPS}/pkgdb-0.38.plist", PLIST % (b"<array>" * 1_500_000))


def xbps_elements(root: Path) -> None:
    """Two million empty dictionaries."""
    write(root, f"{XBPS}/pkgdb-0.38.plist", PLIST % (b"<array>" + b"<dict/>" * 2_000_000 + b"</array>"))


def xbps_entities(root: Path) -> None:
    """Entities, each of which is ten of the one before."""
    names = "abcdefghij"
    entities = "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in itertools.pairwise(names)
    )
    text = f'<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa">{entities}]><plist><dict><key>&j;</key></dict></plist>'
    write(root, f"{XBPS}/pkgdb-0.38.plist", text.encode())


def xbps_many_files(root: Path) -> None:
    """100 packages have a list of files of 4 MB."""
    record = "<key>p{0}</key><dict><key>pkgver</key><string>p{0}-1_1</string></dict>"
    packages = "".join(record.format(number) for number in range(100))
    write(root, f"{XBPS}/pkgdb-0.38.plist", PLIST % f"<dict>{packages}</dict>".encode())
    entry = b"<dict><key>file</key><string>/usr/share/file</string></dict>"
    listed = PLIST % (b"<dict><key>files</key><array>%s</array></dict>" % (entry * 70_000))
    for number in range(100):
        write(root, f"{XBPS}/.p{number}-files.plist", listed)


def nix_many_paths(root: Path) -> None:
    """110,000 store paths."""
    store = root / "nix/store"
    store.mkdir(parents=True)
    for number in range(110_000):
        (store / f"{number:032}-a").touch()


BOMBS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "apk": (apk_million_packages, apk_million_files, apk_long_line, apk_huge),
    "alpm": (alpm_mtree_of_zeros, alpm_mtree_of_lines, alpm_many_files),
    "portage": (portage_many_files, portage_line_of_arrows, portage_line_of_digests),
    "xbps": (xbps_deep, xbps_elements, xbps_entities, xbps_many_files),
    "nix": (nix_many_paths,),
}
"""Ecosystem -> its bombs."""
