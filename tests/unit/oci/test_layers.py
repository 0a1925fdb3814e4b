"""Layers that several threads read: the same tree and the same errors as one after the other."""

from __future__ import annotations

import os
import tarfile
import threading

import pytest

from rechunk_podman.errors import ImageError
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from support.oci_material import Layout, directory, make_tar, member


@pytest.fixture(params=[1, 2, 8])
def _cores(monkeypatch, request):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)))


every_count = pytest.mark.usefixtures("_cores")


def image_of(tmp_path, *layers):
    layout = Layout(tmp_path / "image")
    for layer in layers:
        layout.layer(layer if isinstance(layer, bytes) else make_tar(layer))
    return open_image(f"oci:{layout.finish()}")


def symlink(name, target):
    return member(name, tarfile.SYMTYPE, linkname=target)


@every_count
def test_upper_layers_win(tmp_path):
    """Many layers of many files; each replaces some of those below it."""
    layers = [
        [member(f"f{number}", data=b"%d" % layer) for number in range(layer, 600, 7)] for layer in range(20)
    ]
    seen = []
    with image_of(tmp_path, *layers) as image:
        found = read_tree(image, look=lambda layer, member, content: seen.append(layer) or content.read(9))
    expected = {}
    for layer, entries in enumerate(layers):
        expected |= {info.name: b"%d" % layer for info, _ in entries}
    assert found.looked == expected
    assert found.sha256.keys() == expected.keys()
    assert len(seen) == sum(map(len, layers))


def test_two_layers_are_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    both = threading.Barrier(2, timeout=60)
    with image_of(tmp_path, [member("a", data=b"a")], [member("b", data=b"b")]) as image:
        read_tree(image, look=lambda *_: both.wait())


@every_count
def test_paths_behind_symlinks(tmp_path):
    """`look` and `digests` get the path that the file has in the tree, which the layers below decide."""
    below = [directory("real"), directory("other"), member("real/a", data=b"old")]
    upper = [
        symlink("way", "real"),
        directory("real"),
        member("way/a", data=b"a"),
        member("way/large", data=bytes(1 << 20)),
        symlink("other/.wh.b", "x"),
        member("c", data=b"c"),
        directory("way"),
        member("way/d", data=b"d"),
    ]
    looked, hashed = [], []
    with image_of(tmp_path, below, upper) as image:
        found = read_tree(
            image,
            look=lambda layer, member, content: looked.append((layer, member.path)) or member.path,
            digests=lambda path: hashed.append(path) or path != "c",
        )
    expected = ["real/a", "real/a", "real/large", "c", "way/d"]
    assert sorted(path for _, path in looked) == sorted(hashed) == sorted(expected)
    assert [path for layer, path in looked if layer == 1] == expected[1:]
    assert found.looked == {path: path for path in expected}
    assert found.sha256.keys() == {"real/a", "real/large", "way/d"}


@every_count
def test_the_first_fault_is_told(tmp_path):
    """If several entries are broken, the error names the first in the order of layers and entries."""
    broken = make_tar([member("b", data=b"b")])
    broken = broken[:512] + b"x" * 512 + b"y" * 512
    nothing = [member("a", data=b"a"), member("h", tarfile.LNKTYPE, linkname="absent")]
    with (
        image_of(tmp_path, make_tar(nothing)[:1536] + b"x" * 512, broken) as image,
        pytest.raises(ImageError, match="layer 1: 'h' is a hard link to 'absent'"),
    ):
        read_tree(image)
    with (
        image_of(tmp_path / "other", [member("a", data=b"a")], broken, nothing) as image,
        pytest.raises(ImageError, match="layer 2: a tar header is broken"),
    ):
        read_tree(image)


@every_count
def test_a_failure_of_look_ends_it(tmp_path):
    def look(layer, member, content):
        raise ImageError(f"look {layer}")

    with (
        image_of(tmp_path, *([member(f"f{n}", data=b"x")] for n in range(9))) as image,
        pytest.raises(ImageError, match="look 0"),
    ):
        read_tree(image, look=look)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker")]
