"""Reading images that real tools wrote."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from rechunk_podman.explain.files import read_tree_of, verify
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.oci.validate.image import validate
from support.needs import needs_root, require
from support.oci_material import (
    LAYER,
    Layout,
    Storage,
    odd_rootfs,
    run,
    sha256,
)

pytestmark = needs_root


def tree_of(reference):
    with open_image(reference) as image:
        return read_tree(image)


def content(data: bytes) -> bytes:
    return bytes.fromhex(sha256(data).removeprefix("sha256:"))


def second_layer(top: Path) -> None:
    (top / "etc/empty").unlink()
    shutil.rmtree(top / ("d" * 100) / ("e" * 100))
    (top / "etc/owned").write_text("changed")
    (top / "usr/bin/alias").unlink()
    shutil.rmtree(top / "tmp")
    (top / "tmp").write_text("a file now")
    (top / "etc/deep").chmod(0o700)
    (top / "etc/deep/new").write_text("n")


def third_layer(top: Path) -> None:
    (top / "tmp").unlink()
    (top / "tmp").mkdir(mode=0o711)
    (top / "etc/deep/new").unlink()
    (top / "etc/deep/newer").write_text("n")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A three-layer image with whiteouts, by buildah, in every form that podman and skopeo write."""
    require("podman", "buildah", "skopeo")
    work = tmp_path_factory.mktemp("real")
    # podman takes no more than 50 characters for a directory of its state
    with tempfile.TemporaryDirectory(prefix="storage-", dir="/tmp") as folder:
        yield work, _real_forms(work, Storage(Path(folder)))


def _real_forms(work, storage):
    """Writes all FORMS of the image; where it is mounted."""
    mounted = storage.image("localhost/odd:1", [odd_rootfs, second_layer, third_layer])
    storage.podman("save", "-q", "--format", "oci-archive", "-o", work / "podman.oci", "localhost/odd:1")
    storage.podman(
        "save", "-q", "--format", "docker-archive", "-o", work / "podman.docker", "localhost/odd:1"
    )
    copy = ("skopeo", "--insecure-policy", "copy", "-q")
    source = f"oci-archive:{work / 'podman.oci'}"
    run(*copy, source, f"oci:{work / 'layout'}:name")
    run(*copy, "--dest-compress", "--dest-compress-format", "zstd", source, f"oci:{work / 'zstd'}:name")
    run(*copy, "--dest-decompress", source, f"oci:{work / 'plain'}:name")
    run(*copy, source, f"docker-archive:{work / 'skopeo.docker'}:localhost/odd:2")
    return mounted


FORMS = ("podman.oci", "podman.docker", "layout", "zstd", "plain", "skopeo.docker")


@pytest.mark.parametrize("form", FORMS)
def test_real_image_is_the_mounted_root_filesystem(real, form):
    work, mounted = real
    tree = tree_of(work / form)
    differences = verify(tree, read_tree_of(str(mounted)))
    assert differences.entries == ()
    # vfs keeps the times; buildah's tar has them to the nanosecond, which are floored
    assert differences.mtimes == 0
    assert tree.tree.links == {"usr/bin/tool": "etc/alias"}
    assert dict(tree.tree["etc/attributes"].xattrs)["user.raw"] == b"\x00\xff\n=1 \x80"
    assert tree.tree["etc/block"].rdev == (7, 200)
    assert "etc/not-utf8-\udcff\udcfe" in tree.tree
    assert "etc/empty" not in tree.tree
    assert "etc/deep/new" not in tree.tree
    validate(work / form, strict=False).check()


def test_zstd_form_really_is_zstd(real):
    with open_image(real[0] / "zstd") as image:
        types = {layer.descriptor.media_type for layer in image.record.layers if layer.descriptor}
    assert types == {LAYER + "+zstd"}


def test_record_of_real_documents(real):
    work, _ = real
    manifest = run("skopeo", "inspect", "--raw", f"oci:{work / 'layout'}:name").encode()
    config = run("skopeo", "inspect", "--config", "--raw", f"oci:{work / 'layout'}:name").encode()
    record = image_record("x", manifest, config)
    with open_image(f"oci:{work / 'layout'}:name") as image:
        assert record.layers == image.record.layers
        assert record.digest == image.record.digest
    assert len(record.layers) == 3
    assert all(layer.history is not None for layer in record.layers)
    assert [layer.diff_id for layer in image_record("x", None, config).layers] == [
        layer.diff_id for layer in record.layers
    ]


@pytest.mark.parametrize("style", ["pax", "gnu", "posix"])
def test_layer_by_gnu_tar(tmp_path, style):
    top = odd_rootfs(tmp_path / "root")
    options = ["--xattrs", "--xattrs-include=*"] if style != "gnu" else []
    if style == "gnu":
        os.removexattr(top / "etc/attributes", "user.raw")
        os.removexattr(top / "etc/deep", "user.directory")
        os.removexattr(top / "usr/bin/tool", "security.capability")
    with (top / "etc/sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    # No client unpacks the sparse files of GNU's own format.
    options += ["--sparse"] if style != "gnu" else []
    run("tar", "-C", top, f"--format={style}", *options, "-cf", tmp_path / "t.tar", ".")
    layout = Layout(tmp_path / "image")
    layout.layer((tmp_path / "t.tar").read_bytes())
    tree = tree_of(layout.finish())
    differences = verify(tree, read_tree_of(str(top)))
    assert differences.entries == ()
    assert differences.mtimes == 0
    assert tree.tree["etc/sparse"].size == 5_000_003


def test_umoci_whiteouts_and_opaque_directories(tmp_path):
    require("umoci")
    layout = tmp_path / "umoci"
    for name, text in (("a", "1"), ("b", "2"), ("c", "3")):
        (tmp_path / "src/dir").mkdir(parents=True, exist_ok=True)
        (tmp_path / "src/dir" / name).write_text(text)
    (tmp_path / "new").mkdir()
    (tmp_path / "new/only").write_text("new")
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:t")
    run("umoci", "insert", "--image", f"{layout}:t", tmp_path / "src", "/first")
    run("umoci", "insert", "--image", f"{layout}:t", tmp_path / "src", "/second")
    run("umoci", "insert", "--image", f"{layout}:t", "--whiteout", "/first/dir/a")
    run("umoci", "insert", "--image", f"{layout}:t", "--opaque", tmp_path / "new", "/second")
    tree = tree_of(f"oci:{layout}:t")
    assert set(tree.tree) == {"first", "first/dir", "first/dir/b", "first/dir/c", "second", "second/only"}
    assert tree.sha256["second/only"] == content(b"new")
    run("umoci", "unpack", "--image", f"{layout}:t", tmp_path / "bundle")
    assert verify(tree, read_tree_of(str(tmp_path / "bundle/rootfs"))).same
    validate(layout, strict=False).check()
