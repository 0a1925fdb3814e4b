"""The parsers of what lies in a root filesystem beside package databases, and of files of the user."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import zstandard

from rechunk_podman.boot.initramfs import differing_members, read_initramfs
from rechunk_podman.boot.uki import read_uki
from rechunk_podman.components import group_file, map_file
from rechunk_podman.components.intervals import days_of
from rechunk_podman.components.sources import bytecode, flatpak, xattr
from rechunk_podman.init.migrate import migrate
from rechunk_podman.init.state import State
from rechunk_podman.lint import boot
from rechunk_podman.lint.content import SMALL, facts_of
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.selinux import FileContexts
from support.booting import cpio, efi
from support.fuzzing import Parser, bundle, in_directory

MAPS = {
    "tsv": b"path\tcomponent\tinterval\n/a\tb\t3\n/c*\td\n",
    "csv": b'path,component\n"/a ""b""",c,daily\n/d,e\n',
    "json": b'{"/a": "b", "/c": {"component": "d", "interval": "weekly"}, "/e": null}',
}
GROUPS = (
    b"use: [kde]\ngroups:\n  a: {packages: [x, rpm/y*], pin: top, interval: 3}\n"
    b"  b:\n    sources: [mesa]\n    paths: [/opt/*]\n    apart: yes\n    largest_layer: 10M\n",
    b"version: 1\ndistro: fedora\nmax_layers: 39\nmeta:\n  a:\n    packages: [x*]\n    files: [/usr/*]\n"
    b"  b: &b\n    packages: [y]\n    dedicated: false\n  c: *b\n",
)
CONTEXTS = rb"""# a comment
/.*	system_u:object_r:default_t:s0
/usr/(.*/)?man(/.*)?	man
/usr/lib/.*\.so(\.[^/]*)*	--	shared
/opt/[[:digit:]]+	-d	number
/run/.*	<<none>>
/usr/li[nk]+s|/srv	links
"""
INITRD = cpio({"init": b"#!/bin/sh\n", "etc/os-release": b"ID=x\n", "bin/tool": b"\x7fELF\0" * 50})
"""The members of an initramfs."""


def lz4(data: bytes) -> bytes:
    """Return a legacy frame of LZ4 whose one block holds literals alone."""
    more, rest = divmod(len(data) - 15, 255)
    block = b"\xf0" + b"\xff" * more + bytes([rest]) + data
    return b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block


def initramfs() -> Sequence[bytes]:
    """Return archives of every compression, behind an uncompressed one."""
    early = cpio({"kernel/x86/microcode/x.bin": b"\0\1"}) + bytes(40)
    packed = (
        INITRD,
        gzip.compress(INITRD, mtime=0),
        zstandard.compress(INITRD),
        lzma.compress(INITRD),
        lzma.compress(INITRD, lzma.FORMAT_ALONE),
        bz2.compress(INITRD),
        lz4(INITRD),
    )
    return [early + archive for archive in packed]


def _initramfs(data: bytes) -> None:
    found = read_initramfs(io.BytesIO(data).read)
    differing_members(found, read_initramfs(io.BytesIO(INITRD).read))


def _map(form: str, data: bytes) -> None:
    for _ in map_file.parse(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""), form):
        pass


def _groups(data: bytes) -> None:
    group_file.parse(data.decode("utf-8", "replace"), "groups.yml")


def _labels(data: bytes) -> None:
    contexts = FileContexts([data], data, data)
    for path in (b"/usr/lib/libx.so.1", b"/opt/12", b"/usr/share/man/man1/" + b"a" * 40, b"/srv/\xff\n"):
        contexts.label(path, Kind.FILE)


def dirtree() -> bytes:
    """Return an object of OSTree: a directory with a file and a directory."""
    file = b"n\0" + b"\xaa" * 32 + b"\2"
    folder = b"d\0" + b"\xbb" * 32 + b"\xcc" * 32 + bytes([34, 2])
    files, folders = file + bytes([len(file)]), folder + bytes([len(folder)])
    return files + folders + bytes([len(files)])


def commit() -> bytes:
    """Return a commit object of OSTree whose root directory is dirtree()."""
    head = b"x" * 20 + hashlib.sha256(dirtree()).digest()
    return head + b"\xee" * 32 + bytes([len(head)]) * 6


def _object(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except ValueError:
        return


def _content(data: bytes) -> None:
    path, _, content = data.partition(b"\n")
    facts_of(path.decode("utf-8", "surrogateescape"), len(content), content[:SMALL])


def _attribute(data: bytes) -> None:
    for read in (xattr.component_name, xattr.parse_interval):
        try:
            read(data, "/x")
        except xattr.RootfsError:
            continue
    days_of(data.decode("utf-8", "replace"))


PEM = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: x\r\n\r\nMIIEpAIBAAKCAQEAx=\n"
WORKFLOW = b"""on: push
jobs:
  build:
    steps:
      - name: Rechunk
        uses: hhd-dev/rechunk@v1.2.1
        with:
          ref: "ghcr.io/a/b:latest"
      - run: |
          podman run --rm -v "$PWD:/x" quay.io/coreos/chunkah build --config-str "$X" > out.ociarchive
          sudo rpm-ostree compose build-chunked-oci --bootc --from a:b --output containers-storage:c
"""
RECIPES = b"""build:
    podman build -t a .
chunk: build
    podman run ${CHUNKAH_ARGS} quay.io/coreos/chunkah build | podman load
    /sources/rechunk/1_prune.sh
"""
STATE = State("github", "1.0", {"name": "a"}, {"Justfile": "0" * 64}).text().encode()

FLATPAK = "var/lib/flatpak"
_TREE = hashlib.sha256(dirtree()).hexdigest()
STORAGE = "var/lib/containers/storage"
ROOTS: dict[str, dict[str, bytes]] = {
    "flatpak": {
        f"{FLATPAK}/repo/objects/{'ab'}/{'0' * 62}.commit": commit(),
        f"{FLATPAK}/repo/objects/{_TREE[:2]}/{_TREE[2:]}.dirtree": dirtree(),
        f"{FLATPAK}/repo/objects/aa/{'aa' * 31}.file": b"x",
        f"{FLATPAK}/app/org.x.A/x86_64/stable/ab{'0' * 62}/files/run": b"x",
    },
    "images": {
        f"{STORAGE}/overlay-images/images.json": json.dumps(
            [{"id": "i", "names": ["example.org/a:1"], "layer": "a"}, {"id": "j", "layer": "b"}]
        ).encode(),
        f"{STORAGE}/overlay-layers/layers.json": json.dumps(
            [{"id": "a", "parent": "b"}, {"id": "b"}]
        ).encode(),
        f"{STORAGE}/overlay/a/diff/file": b"1",
        f"{STORAGE}/overlay/a/link": b"ABC",
        "srv/layout/oci-layout": b"{}",
        "srv/layout/index.json": json.dumps(
            {
                "manifests": [
                    {
                        "digest": f"sha256:{'a' * 64}",
                        "mediaType": "manifest",
                        "annotations": {"org.opencontainers.image.ref.name": "example.org/b:1"},
                    }
                ]
            }
        ).encode(),
        f"srv/layout/blobs/sha256/{'a' * 64}": json.dumps(
            {"config": {"digest": f"sha256:{'b' * 64}"}, "layers": [{"digest": f"sha256:{'c' * 64}"}]}
        ).encode(),
        "usr/lib/containers-image-cache/mapping.txt": b"example.org/c:1,abc\n",
        "usr/lib/containers-image-cache/abc/version": b"Directory Transport Version: 1.1\n",
        "usr/lib/containers-image-cache/abc/manifest.json": b"{}",
    },
    "map": {"usr/share/rechunk/map.tsv": MAPS["tsv"] + b"/opt/*\tx\tweekly\n", "a/b": b"x", "opt/y": b"x"},
}
"""Name -> the files of a root filesystem for one source of components."""

PARSERS: dict[str, Parser] = {
    **{f"map {form}": Parser(partial(_map, form), [text]) for form, text in MAPS.items()},
    "groups": Parser(_groups, GROUPS),
    "file_contexts": Parser(_labels, [CONTEXTS, b"/lib64 /usr/lib\n/data /usr\n"]),
    "initramfs": Parser(_initramfs, initramfs()),
    "uki": Parser(
        lambda data: read_uki(io.BytesIO(data).read, with_initramfs=True),
        [efi({".cmdline": b"root=x composefs=abc rw\n\0", ".linux": b"x", ".initrd": gzip.compress(INITRD)})],
    ),
    "dirtree": Parser(partial(_object, flatpak.dirtree), [dirtree()]),
    "commit": Parser(partial(_object, flatpak.commit_tree), [commit()]),
    "attributes": Parser(_attribute, [b"name of it\0", b"weekly\n", b"3.5"]),
    "byte code": Parser(
        bytecode.recorded_mtime, [struct.pack("<HHII", 3495, 0x0A0D, 0, 1_700_000_000) + b"code"]
    ),
    "contents": Parser(
        _content,
        [
            b"etc/app.pem\n" + PEM,
            b"root/.git-credentials\nhttps://me:secret@example.org\n",
            b"root/.pypirc\n[pypi]\n  password = x\n",
            b"usr/lib/sysimage/rpm/rpmdb.sqlite\nSQLite format 3\0" + bytes(84),
            b"srv/config\nAKIAABCDEFGHIJKLMNOP ghp_" + b"a" * 36 + b' {"type": "service_account"}',
        ],
    ),
    "repositories": Parser(
        in_directory(lambda top: migrate(Path(top), version="1.0").patch()),
        [bundle({".github/workflows/build.yml": WORKFLOW, "Justfile": RECIPES, "Containerfile": RECIPES})],
    ),
    "os-release": Parser(
        lambda data: boot._versions(data.decode("utf-8", "replace")),
        [b'VERSION="41.20250101 dracut-059"\nBUILD_ID=1\nVERSION_ID=41\n'],
    ),
    "state of init": Parser(lambda data: State.parse(data.decode("utf-8", "replace")), [STATE]),
}
