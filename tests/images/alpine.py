"""A root filesystem like that of Alpine's Python images: musl, busybox, a Python that was built with musl.

Alpine's own packages are out of reach. CPython and the libraries that it needs are compiled by musl-gcc, from
Debian's sources. apk is a stand-in: the compiler that it "installs" is this machine's, by COMPILER.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from images.cache import cached, call, need, pack, unpack
from images.debian import MIRROR

VERSION = "1"
PYTHON = "3.13"
SOURCES = {
    "bookworm": ("bzip2", "libffi", "sqlite3", "xz-utils", "zlib"),
    "trixie": (f"python{PYTHON}",),
}
"""Debian's source packages, by suite."""
SUITE = "trixie"
"""The suite of Debian whose busybox and musl the root filesystem has."""
MUSL = "x86_64-linux-musl"
GLIBC = "x86_64-linux-gnu"

#: Mounts of this machine's compiler and of its musl, host:container, for a build on this root filesystem.
COMPILER = (
    "/usr/bin:/host/bin",
    f"/usr/lib/{GLIBC}:/lib/{GLIBC}",
    f"/usr/lib/{GLIBC}:/usr/lib/{GLIBC}",
    *(f"{path}:{path}" for path in ("/lib64", "/usr/lib/gcc", "/usr/libexec/gcc") if Path(path).is_dir()),
    *(f"{path}:{path}" for path in (f"/usr/include/{MUSL}", f"/usr/lib/{MUSL}")),
)

_APK = """\
#!/bin/sh
# Stands for Alpine's package manager.
set -eu
test "$1" = add
printf '#!/bin/sh\\nGCC_EXEC_PREFIX=/usr/lib/gcc/ PATH=$PATH:/host/bin exec musl-gcc "$@"\\n' > /usr/bin/gcc
chmod 755 /usr/bin/gcc
ln -s gcc /usr/bin/cc
"""

# Python's configure asks for the triplet of Debian's compiler, which is that of glibc.
_CC = """\
#!/bin/sh
case "$*" in *-print-multiarch*) exit 0 ;; esac
exec musl-gcc "$@"
"""

_BUILD = """\
set -eu
CC=$PWD/cc CFLAGS="-O2 -fPIC" deps=$PWD/deps
export CC CFLAGS
mkdir -p "$deps/include" "$deps/lib"
(cd zlib*/ && ./configure --static --prefix="$deps" && make install)
(cd bzip2*/ && make CC="$CC" CFLAGS="$CFLAGS" libbz2.a && cp bzlib.h "$deps/include" &&
    cp libbz2.a "$deps/lib")
(cd xz*/ && ./configure --prefix="$deps" --disable-shared --disable-xz --disable-xzdec --disable-lzmadec \\
    --disable-lzmainfo --disable-scripts --disable-doc --disable-nls && make install)
(cd libffi*/ && ./configure --prefix="$deps" --disable-shared --disable-docs --disable-exec-static-tramp &&
    make install)
(cd sqlite*/ && CC=cc ./configure --disable-tcl && make sqlite3.c &&
    cp sqlite3.h sqlite3ext.h "$deps/include" &&
    "$CC" $CFLAGS -c sqlite3.c && ar rc "$deps/lib/libsqlite3.a" sqlite3.o)
cd Python*/
PKG_CONFIG_LIBDIR=$deps/lib/pkgconfig CPPFLAGS=-I$deps/include LDFLAGS=-L$deps/lib ./configure \\
    --prefix=/usr/local --disable-test-modules --with-ensurepip=install
make -j2
make install DESTDIR="$1"
"""


def tar() -> Path:
    """The root filesystem as a tar file, ready to import.

    Raises:
        MissingTool: a compiler for musl, apt or tclsh (for SQLite's sources) is not installed.
    """

    def build(folder: Path) -> None:
        need("musl-gcc", "gcc", "make", "apt-get", "dpkg-deb", "tclsh")
        work, root = folder / "work", folder / "root"
        work.mkdir()
        apt = _apt(work)
        for archive in _sources(work, apt):
            unpack(archive, work)
        (work / "cc").write_text(_CC)
        (work / "cc").chmod(0o755)
        call("sh", "-euc", f'cd "{work}" && exec sh -s "{root}"', stdin=_BUILD)
        for file in (root / f"usr/local/lib/python{PYTHON}").rglob("*"):
            if file.name == "Makefile" or file.match("_sysconfigdata*.py"):
                file.write_text(file.read_text().replace(str(work / "cc"), "gcc"))
        _system(work, root, apt)
        pack(root, folder / "root.tar")
        shutil.rmtree(work)
        shutil.rmtree(root)

    return cached("alpine", VERSION, build) / "root.tar"


def _apt(work: Path) -> tuple[str, ...]:
    """Return options by which apt-get knows the sources of SOURCES, the programs of SUITE, and no others."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    lines = [f"deb-src {MIRROR} {suite} main\n" for suite in SOURCES]
    (work / "sources.list").write_text("".join(lines) + f"deb {MIRROR} {SUITE} main\n")
    options = (
        *("-qq", f"-oDir::Etc::sourcelist={work}/sources.list", "-oDir::Etc::sourceparts=/dev/null"),
        *(f"-oDir::State::lists={work}/lists", f"-oDir::Cache={work}/cache"),
        *("-oDir::State::status=/dev/null", "-oAPT::Sandbox::User=root", "-oAPT::Get::Only-Source=true"),
    )
    call("apt-get", *options, "update")
    return options


def _sources(work: Path, apt: tuple[str, ...]) -> list[Path]:
    """Download the archives of SOURCES that their authors published, and compare their digests."""
    names = [f"{name}/{suite}" for suite, several in SOURCES.items() for name in several]
    listed = call("apt-get", *apt, "source", "--print-uris", *names)
    found = []
    for uri, name, digest in re.findall(
        r"^'(\S+)' (\S+\.orig\.tar\.\w+) \d+ (SHA256:\w+)$", listed, re.MULTILINE
    ):
        call(
            "/usr/lib/apt/apt-helper", "-oAPT::Sandbox::User=root", "download-file", uri, work / name, digest
        )
        found.append(work / name)
    if len(found) != len(names):
        raise RuntimeError(f"not {len(names)} archives:\n{listed}")
    return found


def _system(work: Path, root: Path, apt: tuple[str, ...]) -> None:
    """Add musl's loader, busybox under its names, a shell's directories, and the stand-in of apk."""
    for folder in ("bin", "dev", "etc", "lib", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    # Wheels have relative relocations (DT_RELR), which musl before 1.2.4 does not know.
    call("sh", "-euc", 'cd "$1" && shift && exec apt-get "$@" download busybox-static musl', "sh", work, *apt)
    for package in work.glob("*.deb"):
        call("dpkg-deb", "--extract", package, work / "programs")
    shutil.copy(work / "programs/usr/bin/busybox", root / "bin")
    shutil.copy(work / f"programs/usr/lib/{MUSL}/libc.so", root / "lib/ld-musl-x86_64.so.1")
    call("chroot", root, "/bin/busybox", "--install", "-s", "/bin")
    (root / "etc/os-release").write_text('ID=alpine\nPRETTY_NAME="A test image with musl"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "usr/bin/apk").write_text(_APK)
    (root / "usr/bin/apk").chmod(0o755)
