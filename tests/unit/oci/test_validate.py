"""validate(): for every check an image that fails it, and sound ones that pass."""

from __future__ import annotations

import gzip
import json
import os
import tarfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechunk_podman.errors import ImageError, RechunkError, UsageError
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.sparse import SPARSE_FILE
from rechunk_podman.oci.validate.image import validate
from support.oci_material import (
    CONFIG,
    INDEX,
    LAYER,
    Layout,
    archive_of,
    directory,
    make_tar,
    member,
    sha256,
)

TAR = make_tar([directory("d"), member("d/file", data=os.urandom(100_000)), member("e", data=b"e")])
OTHER = make_tar([member("other")])


def codes(path, *, strict=True):
    return {problem.code for problem in validate(path, strict=strict).errors}


def layout(tmp_path, tar: bytes = TAR, stored: bytes | None = None, kind: str = "") -> Layout:
    return Layout(tmp_path / "image").layer(tar, stored, LAYER + kind)


@pytest.mark.parametrize(
    ("stored", "kind"), [(TAR, ""), (gzip.compress(TAR), "+gzip"), (zstandard.compress(TAR), "+zstd")]
)
def test_sound_images(tmp_path, stored, kind):
    path = layout(tmp_path, TAR, stored, kind).finish()
    for target in (path, archive_of(path, tmp_path / "a.tar")):
        report = validate(target).check()
        assert report.problems == []
        assert report.blobs == 3
        assert [len(image.layers) for image in report.images] == [1]
        assert report.size >= len(stored)


# Blobs


def test_flipped_byte_of_a_layer(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    blob = image.file(sha256(TAR))
    data = bytearray(TAR)
    data[5000] ^= 1
    blob.write_bytes(data)
    assert codes(path) == {"blob-digest", "diff-id"}


def test_truncated_layer(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    image.file(sha256(TAR)).write_bytes(TAR[:2000])
    assert codes(path) == {"blob-digest", "blob-size", "tar"}


@pytest.mark.parametrize("kind", ["config", "layer", "manifest"])
def test_missing_blob(tmp_path, kind):
    image = layout(tmp_path)
    path = image.finish()
    digests = {
        "config": image.manifest["config"],
        "layer": image.manifest["layers"][0],
        "manifest": image.entry,
    }
    image.file(digests[kind]["digest"]).unlink()
    assert "missing-blob" in codes(path)
    assert codes(path) <= {"missing-blob", "unreferenced"}


@pytest.mark.parametrize("kind", ["config", "manifest"])
def test_damaged_document(tmp_path, kind):
    image = layout(tmp_path)
    path = image.finish()
    digests = {"config": image.manifest["config"], "manifest": image.entry}
    blob = image.file(digests[kind]["digest"])
    blob.write_bytes(blob.read_bytes() + b" ")
    assert {"blob-digest", "blob-size"} <= codes(path, strict=False)


def test_size_of_a_descriptor(tmp_path):
    image = layout(tmp_path)
    image.manifest["layers"][0]["size"] += 1
    assert codes(image.finish()) == {"blob-size"}


def test_unreferenced_blob(tmp_path):
    image = layout(tmp_path)
    image.blob(b"orphan")
    path = image.finish()
    assert codes(path) == {"unreferenced"}
    assert codes(path, strict=False) == set()
    assert [problem.code for problem in validate(path, strict=False).warnings] == ["unreferenced"]
    image.file(sha256(b"orphan")).write_bytes(b"changed")
    assert codes(path, strict=False) == {"blob-digest"}


def test_blob_elsewhere(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    image.file(sha256(TAR)).unlink()
    image.write(SPARSE_FILE, {"version": 1, "elsewhere": [sha256(TAR)]})
    report = validate(path).check()
    assert report.elsewhere == {sha256(TAR)}
    image.write(SPARSE_FILE, {"version": 1, "elsewhere": [sha256(OTHER)]})
    assert codes(path) == {"missing-blob"}
    image.write(SPARSE_FILE, {"version": 2, "elsewhere": [sha256(TAR)]})
    assert codes(path) == {"missing-blob", "sparse"}


# Documents of a layout


def rewritten(tmp_path, **index) -> set[str]:
    image = layout(tmp_path)
    path = image.finish()
    image.write("index.json", {**image.index, **index})
    return codes(path, strict=False)


def test_layout_version(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    image.write("oci-layout", {"imageLayoutVersion": "9"})
    assert codes(path) == {"layout-version"}
    image.write("oci-layout", b"nonsense")
    assert codes(path) == {"layout-version"}


def test_index(tmp_path):
    assert rewritten(tmp_path / "a", schemaVersion=1) == {"index"}
    assert rewritten(tmp_path / "b", manifests=[]) == {"index"}
    assert rewritten(tmp_path / "c", manifests=[{"mediaType": "x"}]) == {"index"}
    assert rewritten(tmp_path / "d", manifests={}) == {"index"}
    assert rewritten(tmp_path / "e", mediaType="application/json") == {"media-type"}
    assert rewritten(tmp_path / "f", mediaType=INDEX) == set()


def test_index_too_large_and_no_json(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    for data in (b"{" + b" " * (5 << 20) + b"}", b"{", b"[" * 50_000, b"\xff"):
        image.write("index.json", data)
        assert codes(path, strict=False) == {"index"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["latest"], set()),
        (["docker.io/library/x:1.0", "a--b+c@d"], set()),
        (["with space"], {"ref-name"}),
        ([""], {"ref-name"}),
        (["a//b"], {"ref-name"}),
        (["same", "same"], {"duplicate-ref"}),
    ],
)
def test_ref_names(tmp_path, names, expected):
    image = layout(tmp_path)
    path = image.finish()
    key = "org.opencontainers.image.ref.name"
    image.write(
        "index.json",
        {**image.index, "manifests": [{**image.entry, "annotations": {key: name}} for name in names]},
    )
    assert codes(path) == expected


def test_platform_of_the_index(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    image.entry["platform"] = {"architecture": "arm64", "os": "linux"}
    image.write("index.json", image.index)
    assert codes(path) == {"platform"}
    image.entry["platform"]["architecture"] = "amd64"
    image.write("index.json", image.index)
    assert codes(path) == set()


def test_nested_indexes(tmp_path):
    image = layout(tmp_path)
    path = image.finish()
    index = image.index
    for depth in range(7):
        index = {
            "schemaVersion": 2,
            "manifests": [{"mediaType": INDEX, **image.blob(json.dumps(index).encode())}],
        }
        image.write("index.json", index)
        assert ("index" in codes(path)) is (depth >= 4)


def test_entry_that_is_no_image(tmp_path):
    image = layout(tmp_path)
    image.entry["mediaType"] = "text/plain"
    path = image.finish()
    assert "media-type" in codes(path)
    assert codes(path, strict=False) == set()


def with_manifest(tmp_path, **changes) -> set[str]:
    image = layout(tmp_path)
    image.manifest.update(changes)
    return codes(image.finish(), strict=False)


def test_manifest(tmp_path):
    config = {"mediaType": CONFIG, "digest": sha256(b"{}"), "size": 2}
    assert with_manifest(tmp_path / "a", schemaVersion=1) == {"manifest"}
    assert with_manifest(tmp_path / "b", layers={}) == {"manifest"}
    assert with_manifest(tmp_path / "c", layers=[{"mediaType": LAYER, "digest": "md5:0", "size": 1}]) == {
        "manifest"
    }
    assert with_manifest(tmp_path / "d", annotations={"a": 1}) == {"manifest"}
    assert with_manifest(tmp_path / "e", config=config) == {"missing-blob"}
    assert with_manifest(tmp_path / "f", config={**config, "size": -1}) == {"manifest"}
    assert with_manifest(
        tmp_path / "g", mediaType="application/vnd.docker.distribution.manifest.v2+json"
    ) == {"media-type"}


def test_media_types(tmp_path):
    assert codes(layout(tmp_path / "a", kind="+lzma").finish(), strict=False) == {"compression"}
    docker = Layout(tmp_path / "b").layer(
        TAR, gzip.compress(TAR), "application/vnd.docker.image.rootfs.diff.tar.gzip"
    )
    path = docker.finish()
    assert codes(path) == {"media-type"}
    assert codes(path, strict=False) == set()
    image = layout(tmp_path / "c")
    image.manifest["config"] = {"mediaType": "text/plain", **image.blob(json.dumps(image.config).encode())}
    assert codes(image.finish(), strict=False) == {"media-type"}


def with_config(tmp_path, change) -> set[str]:
    image = layout(tmp_path)
    change(image.config)
    return codes(image.finish(), strict=False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("architecture"), "config"),
        (lambda c: c.pop("os"), "config"),
        (lambda c: c["rootfs"].update(type="other"), "config"),
        (lambda c: c["config"].update(Env="A=B"), "config"),
        (lambda c: c["rootfs"].update(diff_ids=["sha256:0"]), "config"),
        (lambda c: c["rootfs"].update(diff_ids=[]), "diff-id-count"),
        (lambda c: c["rootfs"]["diff_ids"].append(sha256(OTHER)), "diff-id-count"),
        (lambda c: c["rootfs"].update(diff_ids=[sha256(OTHER)]), "diff-id"),
        (lambda c: c["history"].append({"created_by": "x"}), "history-count"),
        (lambda c: c["history"][0].update(empty_layer=True), "history-count"),
    ],
)
def test_config(tmp_path, change, expected):
    assert with_config(tmp_path, change) == {expected}


def test_empty_layer_entries_and_no_history_at_all(tmp_path):
    assert with_config(tmp_path / "a", lambda c: c["history"].append({"empty_layer": True})) == set()
    assert with_config(tmp_path / "b", lambda c: c.pop("history")) == set()


def test_duplicate_members_of_an_archive(tmp_path):
    path = layout(tmp_path).finish()
    archive = archive_of(path, tmp_path / "a.tar")
    with tarfile.open(archive, "a") as tar:
        tar.add(path / "index.json", "index.json")
    assert codes(archive, strict=False) == {"duplicate-member"}


# How layers are compressed


@pytest.mark.parametrize(
    ("stored", "kind", "expected"),
    [
        (zstandard.compress(TAR[:5120]) + zstandard.compress(TAR[5120:]), "+zstd", "zstd-frames"),
        (zstandard.compress(TAR) + b"\x50\x2a\x4d\x18\x01\0\0\0a", "+zstd", "zstd-frames"),
        (gzip.compress(TAR[:5120]) + gzip.compress(TAR[5120:]), "+gzip", "gzip-members"),
    ],
)
def test_several_frames_are_for_strictness_alone(tmp_path, stored, kind, expected):
    path = layout(tmp_path, TAR, stored, kind).finish()
    assert codes(path) == {expected}
    assert codes(path, strict=False) == set()


@pytest.mark.parametrize(
    ("stored", "kind", "expected"),
    [
        (gzip.compress(TAR), "+zstd", "compression"),
        (TAR, "+gzip", "compression"),
        (gzip.compress(TAR), "", "compression"),
        (zstandard.compress(TAR)[:-9], "+zstd", "compression"),
        (gzip.compress(TAR)[:-9], "+gzip", "tar"),
        (gzip.compress(TAR) + b"x", "+gzip", "tar"),
    ],
)
def test_broken_compression(tmp_path, stored, kind, expected):
    assert codes(layout(tmp_path, TAR, stored, kind).finish(), strict=False) == {expected}


# How tars are made

LINK = tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member("a/b"), directory("a")], "parent"),
        ([member("a/b/c")], "parent"),
        ([member("a"), member("b", LINK, linkname="a", mode=0o600)], "link-metadata"),
        ([member("a", pax={"SCHILY.xattr.user.x": "1"}), member("b", LINK, linkname="a")], "link-metadata"),
        ([member("a"), member("b", LINK, linkname="a", mtime=5)], "link-metadata"),
        ([member(".wh.a")], "whiteout"),
        ([directory("d"), member("d/.wh..wh..opq")], "whiteout"),
        ([member("/a")], "name"),
        ([member("a", pax={"mtime": "-5"})], "mtime"),
    ],
)
def test_what_only_strictness_asks_of_a_tar(tmp_path, members, expected):
    path = layout(tmp_path, make_tar(members)).finish()
    assert codes(path) == {expected}
    assert codes(path, strict=False) == set()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member("a"), member("a/b")], {"parent"}),
        ([directory("a"), member("b", LINK, linkname="a")], {"hard-link"}),
        ([member("../a")], {"name"}),
        ([member("a" * 256)], {"tar"}),
        ([member("a"), member("a")], {"duplicate-path"}),
        ([directory("a"), directory("a/")], {"duplicate-path"}),
        ([directory("./"), directory("./")], {"duplicate-path"}),
        ([member("b", LINK, linkname="a"), member("a")], {"hard-link"}),
        ([member("null", tarfile.CHRTYPE, devmajor=0, devminor=0)], {"whiteout"}),
        ([member("a"), member(".wh.a")], {"whiteout"}),
        ([member(".wh.a"), directory("a")], {"whiteout"}),
        ([member("a", tarfile.GNUTYPE_SPARSE)], {"tar"}),
        ([member("./")], {"tar"}),
    ],
)
def test_what_no_client_unpacks_alike(tmp_path, members, expected):
    assert codes(layout(tmp_path, make_tar(members)).finish(), strict=False) == expected


LIB = [
    *(directory("usr"), directory("usr/lib"), member("lib", tarfile.SYMTYPE, linkname="usr/lib")),
    *(member("file"), member("pipe", tarfile.FIFOTYPE)),
]


@pytest.mark.parametrize(
    ("upper", "told"),
    [
        ([member("lib/a/b")], "'lib', a symlink"),
        ([member("lib/a")], "'lib', a symlink"),
        ([member(".wh.usr"), member("lib/a")], "'lib', a symlink"),
        ([member("lib/.wh.a")], "'lib', a symlink"),
        ([directory("lib"), member("lib/a")], None),
        ([directory("usr"), member("usr/a")], None),
        ([member("usr/a")], None),
        ([member("other/lib/a")], None),
        ([member("file/a/b/c")], "'file', no directory"),
        ([member("pipe/a")], "'pipe', no directory"),
        ([member("file/.wh..wh..opq")], "'file', no directory"),
        ([directory("file"), member("file/a")], None),
        ([*(member(f"new{number}/a") for number in range(9)), member("file/a")], "'file', no directory"),
    ],
)
def test_entries_below_no_directory_of_a_lower_layer(tmp_path, upper, told):
    """podman and umoci unpack them differently: tests/tools/test_tar_clients.py."""
    image = Layout(tmp_path / "image").layer(make_tar(LIB)).layer(make_tar([directory("x")]))
    report = validate(image.layer(make_tar(upper)).finish(), strict=False)
    texts = [problem.message for problem in report.errors if problem.code == "obstacle"]
    assert (len(texts), all(f"{told} of a lower layer" in text for text in texts)) == (bool(told), True)


@pytest.mark.parametrize("name", ["lib", "file"])
@pytest.mark.parametrize("hiding", [".wh.{}", ".wh..wh..opq", "{}/"])
def test_an_obstacle_that_a_layer_between_hides(tmp_path, name, hiding):
    between = hiding.format(name)
    entry = directory(between[:-1]) if between.endswith("/") else member(between)
    image = Layout(tmp_path / "image").layer(make_tar(LIB)).layer(make_tar([entry]))
    report = validate(image.layer(make_tar([member(f"{name}/a")])).finish(), strict=False)
    assert not any("lower layer" in problem.message for problem in report.problems)


def test_end_of_the_tar(tmp_path):
    tar = make_tar([member("a", data=b"x")])[:1024]
    path = layout(tmp_path, tar).finish()
    assert codes(path) == {"tar-end"}
    assert codes(path, strict=False) == set()


def test_sound_tar_with_links_and_devices(tmp_path):
    members = [
        directory("./"),
        directory("a"),
        member("a/x", data=b"1", mode=0o4755, pax={"SCHILY.xattr.user.x": "1"}),
        member("a/y", LINK, linkname="a/x", mode=0o4755, pax={"SCHILY.xattr.user.x": "1"}),
        member("s", tarfile.SYMTYPE, linkname="../a"),
        member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("pipe", tarfile.FIFOTYPE),
        member("p", LINK, linkname="s"),
    ]
    members[-1][0].mode = members[4][0].mode
    assert validate(layout(tmp_path, make_tar(members)).finish()).check().problems == []


def test_many_problems_are_summed_up(tmp_path):
    report = validate(layout(tmp_path, make_tar([member(f".wh.{n}") for n in range(50)])).finish())
    assert len(report.errors) == 6
    assert "45 more" in report.errors[-1].message
    with pytest.raises(ImageError, match="not sound: 6 problems"):
        report.check()


# Docker archives


def docker(tmp_path, layers, diff_ids, config_name=None, **changes):
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    name = config_name or sha256(config).removeprefix("sha256:") + ".json"
    manifest = [{"Config": name, "RepoTags": ["x:1"], "Layers": list(layers), **changes}]
    members = [member(file, data=data) for file, data in layers.items()]
    members += [member(name, data=config), member("manifest.json", data=json.dumps(manifest).encode())]
    (tmp_path / "d.tar").write_bytes(make_tar(members))
    return tmp_path / "d.tar"


def test_docker_archives(tmp_path):
    good = sha256(TAR)
    name = good.removeprefix("sha256:") + ".tar"
    assert codes(docker(tmp_path, {name: TAR}, [good])) == set()
    assert codes(docker(tmp_path, {"l.tar": gzip.compress(TAR)}, [good])) == set()
    assert codes(docker(tmp_path, {name: OTHER}, [good])) == {"blob-digest", "diff-id"}
    assert codes(docker(tmp_path, {"l.tar": OTHER}, [good])) == {"diff-id"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good, good])) == {"diff-id-count"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good], "0" * 64 + ".json")) == {"blob-digest"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good], Layers=["absent"])) == {"missing-blob"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good], Config="absent")) == {"missing-blob"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good], Config=3)) == {"manifest"}
    assert codes(docker(tmp_path, {"l.tar": TAR}, [good], RepoTags=["a", "a"])) == {"duplicate-ref"}
    assert codes(docker(tmp_path, {"l.tar": TAR[:3000]}, [good])) == {"tar"}


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError):
        validate(tmp_path)
    with pytest.raises(UsageError):
        validate(tmp_path / "absent")


# No damage goes unseen, and none crashes the reader


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    made = {}
    for name, stored, kind in (
        ("plain", TAR, ""),
        ("gzip", gzip.compress(TAR), "+gzip"),
        ("zstd", zstandard.compress(TAR), "+zstd"),
    ):
        top = tmp_path_factory.mktemp(name)
        made[name] = archive_of(layout(top, TAR, stored, kind).finish(), top / "a.tar").read_bytes()
    return tmp_path_factory.mktemp("damaged"), made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["plain", "gzip", "zstd"]), cut=st.booleans())
def test_random_damage(three, data, name, cut):
    folder, made = three
    image = bytearray(made[name])
    # Headers and documents are small beside the layer: let half of the damage fall there.
    place = data.draw(st.one_of(st.integers(0, len(image) - 1), st.integers(0, 6000)))
    if cut:
        del image[place:]
    else:
        image[place] ^= data.draw(st.integers(1, 255))
    target = folder / "damaged.tar"
    target.write_bytes(image)
    try:
        report = validate(target)
    except RechunkError:
        return
    if not report.errors:
        # The damage hit what means nothing: the archive's padding, a field such as the owner's name.
        with open_image(target) as read:
            assert read.record.layers[0].diff_id == sha256(TAR)
            assert set(read_tree(read).tree) == {"d", "d/file", "e"}
