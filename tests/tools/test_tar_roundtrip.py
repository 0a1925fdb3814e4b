"""Random trees, written as layers, come back from tar extraction unchanged."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import xattr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechunk_podman.model import Kind
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.layers import BlobFile, write_layer
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.needs import needs_root
from support.writing import specs, tar_source

pytestmark = needs_root

# The names are bytes, of which pathlib knows nothing.
# ruff: noqa: PTH101, PTH102, PTH211

NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"a-b", b"a.b", b"dir", b"\xff\xfe", "ä\N{SNOWMAN}".encode(), b"new\nline", b" "]
    ),
    st.binary(min_size=1, max_size=30),
    st.integers(90, 255).map(lambda length: b"n" * length),
    st.integers(90, 255).map(lambda length: b"\xc3" * length),
).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..") and name[:4] != b".wh."
)

XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.component", "user.long." + "x" * 100, "security.mine"]),
    st.one_of(st.binary(min_size=1, max_size=40), st.integers(900, 1100).map(lambda length: b"\n" * length)),
    max_size=2,
)
NODES = st.fixed_dictionaries(
    {
        "parent": st.integers(0, 100),
        "name": NAMES,
        "kind": st.sampled_from("ffffdddlhpcb"),
        "mode": st.integers(0, 0o7777),
        "owner": st.sampled_from([0, 1000, 2097151, 2097152, 4_294_967_294]),
        "mtime": st.integers(-(2**31), 2**34),
        "content": st.one_of(
            st.binary(max_size=20),
            st.sampled_from([511, 512, 513, (1 << 20) + 1]).map(lambda size: b"z" * size),
        ),
        "target": st.one_of(st.binary(min_size=1, max_size=200), st.just(b"/" + b"t" * 120)).filter(
            lambda target: b"\0" not in target
        ),
        "xattrs": XATTRS,
    }
)


def make(top: bytes, nodes: list[dict], linkable: str = "flpcb") -> None:
    """Creates the nodes below `top`; a name that is there already is left as it is.

    linkable: the kinds that get hard links.
    """
    directories, files = [top], []
    made = []
    for node in nodes:
        path = directories[node["parent"] % len(directories)] + b"/" + node["name"]
        if os.path.lexists(path) or len(path) - len(top) > 3000:
            continue
        kind = node["kind"]
        if kind == "h" and files:
            os.link(files[node["parent"] % len(files)], path, follow_symlinks=False)
            continue
        if kind == "d":
            os.mkdir(path)
            directories.append(path)
        elif kind == "l":
            os.symlink(node["target"], path)
        elif kind == "p":
            os.mkfifo(path)
        elif kind in "cb":
            os.mknod(
                path, stat.S_IFCHR if kind == "c" else stat.S_IFBLK, os.makedev(1 + node["mode"] % 4095, 77)
            )
        else:
            with open(path, "wb") as file:
                file.write(node["content"])
        if kind in linkable:
            files.append(path)
        made.append((path, node))
    for path, node in reversed(made):
        os.chown(path, node["owner"], node["owner"], follow_symlinks=False)
        if node["kind"] not in "l":
            os.chmod(path, node["mode"])
        for name, value in node["xattrs"].items():
            if node["kind"] in "fdh" or name.startswith("security."):
                xattr.set(path, name, value, nofollow=True)
        os.utime(path, (node["mtime"], node["mtime"]), follow_symlinks=False)


def described(top: Path, mtimes: bool) -> dict:
    """Path -> everything that has to survive, hard-link groups by their first path."""
    with Root(top) as root:
        tree = scan(root)
        found = {}
        for path, entry in tree.items():
            content = root.read(path) if entry.kind is Kind.FILE else b""
            told = entry._replace(dev=0, ino=0, nlink=0, mtime=entry.mtime if mtimes else 0)
            found[path] = (told, content, tree.links.get(path))
        return found


def expected(top: Path) -> dict:
    """described(), with the times that tar_source() gives."""
    times = {Kind.DIRECTORY: 0, Kind.FILE: None}
    found = described(top, mtimes=True)
    return {
        path: (
            entry._replace(mtime=entry.mtime if entry.kind is Kind.FILE else times.get(entry.kind, 1)),
            content,
            link,
        )
        for path, (entry, content, link) in found.items()
    }


def layers_of(top: Path, count: int) -> list[bytes]:
    """The layers' tars, each of the size that was announced."""
    found = []
    with Root(top) as root, tempfile.TemporaryDirectory() as folder:
        source = tar_source(root)
        for number, spec in enumerate(specs(source.tree, count)):
            path = Path(folder, str(number))
            stream = source.stream(spec.positions)
            written = write_layer(root, stream, BlobFile(str(path)), Compression())
            data = path.read_bytes()
            assert len(data) == stream.size == written.uncompressed_size
            found.append(data)
    return found


def extract_with_gnu_tar(data: bytes, target: Path) -> None:
    command = ["tar", "--extract", "--same-permissions", "--same-owner", "--numeric-owner", "--xattrs", "-f-"]
    done = subprocess.run(
        [*command, "--xattrs-include=*", "--warning=no-timestamp", "--delay-directory-restore", "-C", target],
        input=data,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def extract_with_python(data: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        options = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        archive.extractall(target, numeric_owner=True, **options)  # noqa: S202


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nodes=st.lists(NODES, max_size=25), count=st.integers(1, 4))
def test_gnu_tar_gives_the_tree_back(nodes, count):
    with tempfile.TemporaryDirectory() as folder:
        top, target = Path(folder, "top"), Path(folder, "target")
        top.mkdir()
        target.mkdir()
        make(os.fsencode(top), nodes)
        for data in layers_of(top, count):
            extract_with_gnu_tar(data, target)
        assert described(target, mtimes=True) == expected(top)
        shutil.rmtree(top)


def without_xattrs(described: dict) -> dict:
    return {path: (entry._replace(xattrs=()), *rest) for path, (entry, *rest) in described.items()}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nodes=st.lists(NODES, max_size=25), count=st.integers(1, 4))
def test_python_gives_the_tree_back(nodes, count):
    """Python restores no xattrs, and no hard links to symlinks that lead nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        top, target = Path(folder, "top"), Path(folder, "target")
        top.mkdir()
        target.mkdir()
        make(os.fsencode(top), nodes, linkable="fpcb")
        for data in layers_of(top, count):
            extract_with_python(data, target)
        assert without_xattrs(described(target, mtimes=False)) == without_xattrs(described(top, mtimes=False))
