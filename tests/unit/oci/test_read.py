"""Reading images: real ones from real tools, then hand-made and broken ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import tarfile
from contextlib import contextmanager

import pytest
import zstandard

from faults import odd_tars
from rechunk_podman.errors import ImageError, UsageError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.read.tar import members
from rechunk_podman.oci.reference import parse_path
from rechunk_podman.oci.validate.image import validate
from support.oci_material import (
    LAYER,
    Layout,
    archive_of,
    directory,
    make_tar,
    member,
    run,
    sha256,
)


@contextmanager
def fails(kind, pattern):
    """An error of that kind, the pattern somewhere in its message or context."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert re.search(pattern, "\n".join((error.message, *error.context))), (error.message, error.context)


def tree_of(reference):
    with open_image(reference) as image:
        return read_tree(image)


def content(data: bytes) -> bytes:
    return bytes.fromhex(sha256(data).removeprefix("sha256:"))


# Whiteouts, by hand


def flat(tmp_path, *layers):
    layout = Layout(tmp_path / "image")
    for entries in layers:
        layout.layer(make_tar(entries))
    return tree_of(layout.finish())


def test_whiteouts_say_nothing_of_their_own_layer_in_any_order(tmp_path):
    below = [
        directory("d"),
        member("d/old", data=b"o"),
        member("d/same", data=b"o"),
        directory("d/sub"),
        member("d/sub/x"),
    ]
    above = [
        directory("d"),
        member("d/same", data=b"new"),
        directory("d/sub"),
        member("d/sub/y"),
        member("d/.wh..wh..opq"),
    ]
    for number, upper in enumerate((above, [above[0], above[-1], *above[1:-1]])):
        tree = flat(tmp_path / str(number), below, upper)
        assert set(tree.tree) == {"d", "d/same", "d/sub", "d/sub/y"}
        assert tree.sha256["d/same"] == content(b"new")


def test_whiteout_of_a_subtree_and_of_nothing(tmp_path):
    tree = flat(
        tmp_path,
        [directory("a"), directory("a/b"), member("a/b/c"), member("ab"), member("keep")],
        [member(".wh.a"), member(".wh.absent"), directory("x"), member("x/.wh..wh.plnk")],
    )
    assert set(tree.tree) == {"ab", "keep", "x"}


def test_replacing_directories_files_and_links(tmp_path):
    link = member("hard", tarfile.LNKTYPE, linkname="file", mode=0o600, pax={"SCHILY.xattr.user.b": "2"})
    tree = flat(
        tmp_path,
        [
            directory("d", mode=0o700),
            member("d/x"),
            member("file", data=b"1", pax={"SCHILY.xattr.user.a": "1"}),
            member("g"),
        ],
        [link, member("d", data=b"file"), directory("g"), member("g/h"), member("implied/child")],
        [member("file", data=b"2")],
    )
    assert set(tree.tree) == {"d", "file", "g", "g/h", "hard", "implied", "implied/child"}
    assert tree.tree["d"].kind is Kind.FILE
    assert tree.tree["hard"].mode == 0o600
    assert tree.tree["hard"].xattrs == (("user.a", b"1"), ("user.b", b"2"))
    assert tree.tree["hard"].nlink == 1
    assert tree.tree.links == {}
    assert (tree.sha256["hard"], tree.sha256["file"]) == (content(b"1"), content(b"2"))
    assert (tree.tree["implied"].mode, tree.tree["implied"].uid) == (0o755, 0)


def test_directories_that_a_layer_leaves_out_are_those_of_an_overlay(tmp_path):
    """A file or a whiteout in them makes them 0755 0:0; their content in lower layers stays."""
    stated = {"mode": 0o2710, "uid": 5, "gid": 6, "pax": {"SCHILY.xattr.user.x": "1"}}
    names = ("file", "whiteout", "above", "above/below", "stated", "untouched")
    tree = flat(
        tmp_path,
        [one for name in names for one in (directory(name, **stated), member(f"{name}/old"))],
        [
            *(member("file/new"), member("whiteout/.wh.old"), member("above/below/new")),
            *(member("stated/new"), directory("stated", mode=0o700)),
        ],
    )
    found = {name: tree.tree[name] for name in names}
    for name in ("file", "whiteout", "above", "above/below"):
        assert (found[name].mode, found[name].uid, found[name].gid, found[name].xattrs) == (0o755, 0, 0, ())
    assert (found["stated"].mode, found["stated"].uid) == (0o700, 0)
    assert (found["untouched"].mode, found["untouched"].uid) == (0o2710, 5)
    assert set(tree.tree) == {
        *names,
        *(f"{name}/old" for name in names if name != "whiteout"),
        *("file/new", "above/below/new", "stated/new"),
    }


def test_root_entry_is_apart(tmp_path):
    tree = flat(tmp_path, [directory("./", mode=0o700, uid=3), member("./x")])
    assert list(tree.tree) == ["x"]
    assert (tree.tree.root.mode, tree.tree.root.uid) == (0o700, 3)


def test_pax_times_are_floored_not_rounded(tmp_path):
    times = {"a": ("1700000000.9999999999", 1700000000), "b": ("-1.5", -2), "c": ("-3", -3)}
    tree = flat(tmp_path, [member(name, pax={"mtime": text}) for name, (text, _) in times.items()])
    assert {name: tree.tree[name].mtime for name in times} == {
        name: value for name, (_, value) in times.items()
    }


def test_empty_layers(tmp_path):
    layout = Layout(tmp_path / "image")
    layout.layer(b"").layer(bytes(1024)).layer(make_tar([member("x")]))
    assert list(tree_of(layout.finish()).tree) == ["x"]


def test_attribute_without_a_value_is_none_as_for_every_client(tmp_path):
    tree = flat(tmp_path, [member("x", pax={"SCHILY.xattr.user.empty": "", "SCHILY.xattr.user.full": "1"})])
    assert tree.tree["x"].xattrs == (("user.full", b"1"),)


# Broken layers


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("x", pax={"path": "a\0b"})], "pax header is broken"),
        ([member("x" * 256)], "too long"),
        ([member("x", pax={"path": "a/" * 60_000 + "b"})], "too long"),
        ([member("x", tarfile.SYMTYPE, linkname="")], "symlink to nothing"),
        ([member("x", tarfile.CHRTYPE, devmajor=1, devminor=3, uid=0xFFFFFFFF)], "uid 4294967295"),
        ([member("x", tarfile.CONTTYPE)], "of the tar type"),
        ([member("x", tarfile.GNUTYPE_SPARSE)], "of the tar type"),
        ([member("x", tarfile.LNKTYPE, linkname="absent")], "no other file before it"),
        ([directory("d"), member("x", tarfile.LNKTYPE, linkname="d")], "no other file before it"),
        ([member("x"), member("x", tarfile.LNKTYPE, linkname="../../x")], "no other file before it"),
        ([member("x", b"Z")], "of the tar type"),
        ([member("a/.wh.")], "whiteout of nothing"),
        ([member("./", tarfile.SYMTYPE, linkname="/")], "root is not a directory"),
        ([member("x", pax={"mtime": "soon"})], "mtime"),
        ([member("x", pax={"uid": "-5"})], "uid"),
    ],
)
def test_members_that_no_layer_should_hold(tmp_path, members, message):
    with fails(ImageError, message):
        flat(tmp_path, members)


def test_names_are_those_that_clients_see(tmp_path):
    names = ["/etc/x", "../up", "a/../../y", "./b//c"]
    tree = flat(tmp_path, [member(name) for name in names])
    assert set(tree.tree) == {"etc", "etc/x", "up", "y", "b", "b/c"}


def test_global_headers_change_no_file(tmp_path):
    global_header = tarfile.TarInfo.create_pax_global_header({"path": "other", "uid": "5"})
    tar = global_header + make_tar([member("a"), member("b")])
    tree = tree_of(Layout(tmp_path / "image").layer(tar).finish())
    assert set(tree.tree) == {"a", "b"}
    assert tree.tree["a"].uid == 0


def test_many_chained_headers_and_implied_directories_are_bounded(tmp_path):
    chain = b"".join(odd_tars.pax({"path": b"n%d" % number}) for number in range(5000))
    assert list(tree_of(Layout(tmp_path / "a").layer(chain + odd_tars.A).finish()).tree) == ["n4999"]
    deep = (member("x", pax={"path": f"{number}/" + "a/" * 1900 + "b"}) for number in range(40))
    with fails(ImageError, "leaves out the parents"):
        tree_of(Layout(tmp_path / "b").layer(make_tar(deep)).finish())


def test_huge_header_is_not_read(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    layout = Layout(tmp_path / "image").layer(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with fails(ImageError, "claims 1099511627776 bytes"):
        tree_of(layout.finish())


@pytest.mark.parametrize("count", [1, 1000])
def test_holes_of_sparse_files_are_bounded(tmp_path, count):
    """A blob of a few hundred bytes, of which a reader would hash terabytes of zeros for days."""
    size = b"%d" % ((1 << 40) // count)
    keys = {"GNU.sparse.major": b"0", "GNU.sparse.minor": b"1", "GNU.sparse.size": size}
    keys |= {"GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"0,4"}
    files = (odd_tars.pax(keys) + odd_tars.entry(b"%d" % number, b"data") for number in range(count))
    with fails(ImageError, "bytes of holes"):
        list(members(io.BytesIO(b"".join(files) + bytes(1024)), "layer"))
    fine = {**keys, "GNU.sparse.size": b"%d" % (1 << 20)}
    layer = odd_tars.pax(fine) + odd_tars.entry(b"x", b"data")
    found = tree_of(Layout(tmp_path / "image").layer(layer).finish())
    assert found.sha256["x"] == content(b"data" + bytes((1 << 20) - 4))


@pytest.mark.parametrize("place", [700, 1100])
def test_broken_header_in_the_middle_is_not_the_end(tmp_path, place):
    tar = bytearray(make_tar([member("a", data=b"x" * 10), member("b"), member("c")]))
    tar[1024 + 148 : 1024 + 154] = b"999999"
    with fails(ImageError, "header is broken"):
        tree_of(Layout(tmp_path / "image").layer(bytes(tar)).finish())
    cut = make_tar([member("a", data=b"x" * 1000)])[:place]
    with fails(ImageError, r"cut|end of data|broken"):
        tree_of(Layout(tmp_path / "cut").layer(cut).finish())


TAR = make_tar([directory("d"), member("d/file", data=os.urandom(300_000)), member("e")])


def named(value):
    """No bytes in the names of tests: they are others each time."""
    return "blob" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("stored", "kind", "message"),
    [
        (gzip.compress(TAR)[:-20], "+gzip", "cut off"),
        (gzip.compress(TAR)[:100], "+gzip", "cut off"),
        (gzip.compress(TAR) + b"garbage", "+gzip", "not sound gzip"),
        (
            gzip.compress(TAR)[:50000] + b"\0" * 90 + gzip.compress(TAR)[50090:],
            "+gzip",
            "not sound|broken|diff_id",
        ),
        (zstandard.compress(TAR)[:-20], "+zstd", "cut off"),
        (zstandard.compress(TAR) + b"garbage", "+zstd", "no frame"),
        (bz2.compress(TAR), "+gzip", "compressed by bzip2"),
        (TAR, "+lzma", "unknown media type"),
        (TAR[:-600], "", "diff_id"),
        (gzip.compress(TAR[:20] + b"!" + TAR[21:]), "+gzip", r"header is broken|diff_id|sound tar"),
    ],
    ids=named,
)
def test_broken_blobs(tmp_path, stored, kind, message):
    with fails(ImageError, message):
        tree_of(Layout(tmp_path / "image").layer(TAR, stored, LAYER + kind).finish())


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (TAR, ""),
        (TAR, "+gzip"),
        (TAR, "+zstd"),
        (zstandard.compress(TAR), "+gzip"),
        (gzip.compress(TAR), ""),
        (gzip.compress(TAR), "+gzip"),
        (gzip.compress(TAR[:512]) + gzip.compress(TAR[512:]) + bytes(77), "+gzip"),
        (zstandard.compress(TAR), "+zstd"),
        (zstandard.compress(TAR[:512]) + zstandard.compress(TAR[512:]), "+zstd"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(TAR), "+zstd"),
    ],
    ids=named,
)
def test_sound_blobs(tmp_path, stored, kind):
    tree = tree_of(Layout(tmp_path / "image").layer(TAR, stored, LAYER + kind).finish())
    assert list(tree.tree) == ["d", "d/file", "e"]


# Broken layouts and archives


def sound(tmp_path) -> Layout:
    layout = Layout(tmp_path / "image").layer(TAR)
    layout.finish()
    return layout


def test_missing_and_wrong_blobs(tmp_path):
    layout = sound(tmp_path)
    blob = layout.file(sha256(TAR))
    blob.write_bytes(TAR + b"x")
    with fails(ImageError, "bytes, its descriptor says"):
        tree_of(layout.path)
    blob.unlink()
    with fails(ImageError, "lacks blobs") as caught:
        tree_of(layout.path)
    assert caught.value.hint
    os.mkfifo(blob)
    with fails(ImageError, "lacks blobs"):
        tree_of(layout.path)


def test_documents_are_checked_and_bounded(tmp_path):
    layout = sound(tmp_path)
    manifest = layout.file(layout.entry["digest"])
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b"2", b"3", 1))
    with fails(ImageError, "not what its descriptor says"):
        tree_of(layout.path)
    manifest.write_bytes(good)
    layout.write("index.json", b"[" + b"0," * (3 << 20) + b"0]")
    with fails(ImageError, "larger than"):
        tree_of(layout.path)
    layout.write("index.json", b"[" * 100_000)
    with fails(ImageError, "cannot|can be read"):
        tree_of(layout.path)
    for bad, message in (
        ([], "not a JSON object"),
        ({"schemaVersion": 1, "manifests": []}, "not an image index"),
        ({"schemaVersion": 2, "manifests": [1]}, "not an object"),
        (
            {"schemaVersion": 2, "manifests": [{**layout.entry, "digest": "sha256:../../../etc/passwd"}]},
            "digest",
        ),
        ({"schemaVersion": 2, "manifests": [{**layout.entry, "annotations": {"a": 1}}]}, "annotations"),
    ):
        layout.write("index.json", bad)
        with fails(ImageError, message):
            tree_of(layout.path)


def test_fewer_diff_ids_than_layers(tmp_path):
    layout = Layout(tmp_path / "image").layer(TAR)
    layout.config["rootfs"]["diff_ids"] = []
    with fails(ImageError, "1 layers, the config 0 diff_ids"):
        tree_of(layout.finish())


def test_choice_among_images(tmp_path):
    layout = sound(tmp_path)
    name = {"annotations": {"org.opencontainers.image.ref.name": "a"}}
    layout.index["manifests"] = [
        {**layout.entry, **name},
        {**layout.entry, "platform": {"os": "plan9", "architecture": "x"}},
    ]
    layout.write("index.json", layout.index)
    assert len(tree_of(f"{layout.path}:a").tree) == 3
    with fails(UsageError, "holds no image b") as caught:
        tree_of(f"oci:{layout.path}:b")
    assert "it holds: a" in caught.value.context[0]
    assert len(tree_of(layout.path).tree) == 3  # both are one image
    layout.write("index.json", {"schemaVersion": 2, "manifests": []})
    with fails(UsageError, "holds 0 images"):
        tree_of(layout.path)


def test_index_within_an_index_and_a_loop_of_them(tmp_path):
    layout = sound(tmp_path)
    inner = layout.blob(json.dumps(layout.index).encode())
    layout.write(
        "index.json",
        {
            "schemaVersion": 2,
            "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", **inner}],
        },
    )
    assert len(tree_of(layout.path).tree) == 3


def test_archives(tmp_path):
    layout = sound(tmp_path)
    good = archive_of(layout.path, tmp_path / "good.tar")
    assert len(tree_of(good).tree) == 3
    run("tar", "-C", layout.path, "-cf", tmp_path / "dot.tar", ".")
    assert len(tree_of(tmp_path / "dot.tar").tree) == 3
    data = good.read_bytes()
    (tmp_path / "short.tar").write_bytes(data[: len(data) // 2])
    with fails(ImageError, r"ends within|sound tar|end of data"):
        tree_of(tmp_path / "short.tar")
    (tmp_path / "gz.tar").write_bytes(gzip.compress(data))
    with fails(ImageError, "compressed archive"):
        tree_of(tmp_path / "gz.tar")
    (tmp_path / "text").write_text("hello" * 1000)
    with fails(ImageError, "no image archive"):
        tree_of(tmp_path / "text")
    (tmp_path / "evil.tar").write_bytes(make_tar([member("../index.json", data=b"{}")]))
    with fails(ImageError, "outside of it"):
        tree_of(tmp_path / "evil.tar")
    (tmp_path / "other.tar").write_bytes(make_tar([member("x")]))
    with fails(UsageError, "lacks manifest.json"):
        tree_of(tmp_path / "other.tar")


def test_docker_archive_with_links_between_its_layers(tmp_path):
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(TAR)] * 2}}
    ).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["x:latest"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    members = [
        member("a/layer.tar", data=TAR),
        member("b/layer.tar", tarfile.SYMTYPE, linkname="../a/layer.tar"),
        member("c.json", data=config),
        member("manifest.json", data=json.dumps(manifest).encode()),
    ]
    (tmp_path / "d.tar").write_bytes(make_tar(members))
    assert len(tree_of(f"docker-archive:{tmp_path / 'd.tar'}:x").tree) == 3
    validate(tmp_path / "d.tar").check()
    with fails(UsageError, "holds no image y"):
        tree_of(f"docker-archive:{tmp_path / 'd.tar'}:y")
    manifest[0]["Layers"] = ["a/layer.tar"]
    members[-1] = member("manifest.json", data=json.dumps(manifest).encode())
    (tmp_path / "d.tar").write_bytes(make_tar(members))
    with fails(ImageError, "1 layers, but 2 diff_ids"):
        tree_of(tmp_path / "d.tar")


def test_references(tmp_path):
    (tmp_path / "with:colon").write_text("")
    assert parse_path(f"oci:{tmp_path}:a:b") == ("oci", str(tmp_path), "a:b")
    assert parse_path(f"{tmp_path}/with:colon") == (None, f"{tmp_path}/with:colon", None)
    assert parse_path("docker-archive:absent:x") == ("docker-archive", "absent:x", None)
    with fails(UsageError, "no such file"):
        open_image(tmp_path / "absent")
    with fails(UsageError, "not an OCI layout"):
        open_image(tmp_path)
    with fails(UsageError, "not an archive but a directory"):
        open_image(f"oci-archive:{tmp_path}")
