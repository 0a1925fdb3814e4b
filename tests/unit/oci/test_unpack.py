"""Images that are split from their layers: what is pruned, special files, odd times, holes in files."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.build.job import Job
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run
from rechunk_podman.errors import RootfsError
from rechunk_podman.explain.run import verify
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from support.oci_material import Layout, directory, make_tar, member

BIG = bytes(3 << 20) + b"end"


def image(path: Path, *members: Any) -> Path:
    return Layout(path).layer(make_tar(members)).finish()


def split(source: Path, output: Path, **options: Any) -> Path:
    """Splits the layers of one layout into another; leaves nothing else behind."""
    work = output.with_suffix(".work")
    work.mkdir()
    run(
        Job(
            rootfs=str(work),
            layers=f"oci:{source}",
            config="{}",
            options=BuildOptions(**options),
            output=f"oci:{output}",
        )
    )
    work.rmdir()
    return output


def paths(layout: Path) -> set[str]:
    with open_image(f"oci:{layout}") as opened:
        return set(read_tree(opened).tree)


def test_metadata_is_that_of_the_layers(tmp_path: Path) -> None:
    """Nothing here could be made by an ordinary user, and holes or times matter nowhere."""
    source = image(
        tmp_path / "image",
        directory("d", mode=0o1000, uid=4_000_000_000, pax={"SCHILY.xattr.trusted.x": "1"}),
        member("d/setuid", mode=0o6111, uid=77, data=b"x", pax={"SCHILY.xattr.security.capability": "\1\0"}),
        member("d/unreadable", mode=0, data=b"secret"),
        member("d/holes", data=BIG),
        member("d/early", data=b"early", mtime=-(1 << 40), pax={"mtime": str(-(1 << 40))}),
        member("d/late", data=b"late", mtime=1 << 50, pax={"mtime": str(1 << 50)}),
        member("d/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("d/disk", tarfile.BLKTYPE, devmajor=8, devminor=1),
        member("d/pipe", tarfile.FIFOTYPE),
        member("d/odd\udcff", data=b"odd"),
        member("d/absolute", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("e/link", tarfile.LNKTYPE, linkname="d/absolute"),
    )
    result = split(source, tmp_path / "result")
    found = verify(f"oci:{source}", f"oci:{result}")
    assert found.same, found
    assert found.paths == 13


def test_prune_and_skip(tmp_path: Path) -> None:
    """What is left out may even be what no image can hold."""
    marked = {"SCHILY.xattr.user.overlay.opaque": "y"}
    source = image(
        tmp_path / "image",
        member("a/kept", data=b"1"),
        directory("content", mode=0o700),
        directory("content/store", pax=marked),
        member("content/store/file", data=b"2"),
        member("whole/file", data=b"3"),
        member("link", tarfile.SYMTYPE, linkname="whole"),
        member("pipe", tarfile.FIFOTYPE),
    )
    with pytest.raises(RootfsError, match="content/store"):
        split(source, tmp_path / "marked")
    result = split(source, tmp_path / "result", prune=("/content/", "/whole"), skip_special_files=True)
    assert paths(result) == {"a", "a/kept", "content", "link"}
