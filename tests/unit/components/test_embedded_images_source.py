"""Container images in the image: stores, layouts, directories; one component each, one of what they share."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.assigning import assigned, make

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def blob(top: Path, data: bytes) -> dict[str, object]:
    value = hashlib.sha256(data).hexdigest()
    (top / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (top / "blobs/sha256" / value).write_bytes(data)
    return {"digest": f"sha256:{value}", "size": len(data)}


def layer(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def layout(top: Path) -> Path:
    """An OCI layout of two images that share a layer."""
    top.mkdir(parents=True)
    base, manifests = layer("base", b"b" * 50_000), []
    for name in ("one", "two"):
        layers = [base, layer(name, name.encode() * 9_000)]
        rootfs = {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers],
        }
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
        media = "application/vnd.oci.image.config.v1+json"
        described = {"mediaType": media, **blob(top, json.dumps(config).encode())}
        media = "application/vnd.oci.image.layer.v1.tar"
        blobs = [{"mediaType": media, **blob(top, data)} for data in layers]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": blobs}
        notes = {"org.opencontainers.image.ref.name": f"example.org/{name}:1"}
        manifests.append(
            {"mediaType": MANIFEST, **blob(top, json.dumps(manifest).encode()), "annotations": notes}
        )
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return top


def test_a_layout(tmp_path: Path) -> None:
    layout(tmp_path / "root/srv/layout")
    found = assigned(tmp_path / "root")
    sizes = {ident: len(paths) for ident, paths in found.paths.items()}
    # manifest, config and layer of each, the layer of both, oci-layout and index.json
    assert sizes == {
        "filesystem/root": 1,
        "images/example.org/one": 3,
        "images/example.org/two": 3,
        "images/example.org/one+example.org/two": 1,
        "images/store": 2,
    }


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("skopeo") is None, reason="needs root and skopeo")
def test_what_skopeo_wrote(tmp_path: Path) -> None:
    """A store of two images, and one image in the cache that bootc's users fill."""
    root, source = tmp_path / "root", layout(tmp_path / "layout")
    store = root / "usr/lib/containers/storage"
    cache = root / "usr/lib/containers-image-cache"
    cache.mkdir(parents=True)
    copies = [
        (name, f"containers-storage:[vfs@{store}+{tmp_path}/run]example.org/{name}:1")
        for name in ("one", "two")
    ]
    for name, target in [*copies, ("one", f"dir:{cache}/abc")]:
        command = [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--quiet",
            f"oci:{source}:example.org/{name}:1",
            target,
        ]
        subprocess.run(command, check=True, timeout=60)
    (cache / "mapping.txt").write_text("example.org/one:1,abc\n")
    found = assigned(root)
    assert {found.owner[p] for p in found.owner if p.startswith("usr/lib/containers-image-cache/abc")} == {
        "images/example.org/one"
    }
    assert found.owner["usr/lib/containers-image-cache/mapping.txt"] == "images/store"
    tops = {path.rpartition("/")[2]: owner for path, owner in found.owner.items() if "/vfs/dir/" in path}
    assert tops["two"] == "images/example.org/two"
    assert {"images/example.org/one", "images/example.org/two", "images/example.org/one+example.org/two"} <= {
        *found.owner.values()
    }
    assert not [owner for owner in found.owner.values() if owner.startswith("unclaimed")]


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1]", '{"manifests": 3}', '{"manifests": [{"digest": 5}]}', "[" * 5000]
)
def test_a_broken_index_costs_its_images(tmp_path: Path, text: str) -> None:
    top = layout(tmp_path / "root/srv/layout")
    (top / "index.json").write_text(text)
    assert set(assigned(tmp_path / "root").components) == {"filesystem/root", "images/store"}


def test_names_with_paths_and_a_cycle(tmp_path: Path) -> None:
    """Layers of a store name each other as parents; ids and names lead nowhere else."""
    images = [
        {"id": "../../../etc", "names": ["x"], "layer": "a"},
        {"id": "i", "names": ["evil\n", 3], "layer": "a"},
        {"id": "j", "names": ["good"], "layer": "a"},
    ]
    layers = [{"id": "a", "parent": "b"}, {"id": "b", "parent": "a"}]
    store = "var/lib/containers/storage"
    top = make(
        tmp_path / "root",
        {
            f"{store}/overlay-images/images.json": json.dumps(images),
            f"{store}/overlay-layers/layers.json": json.dumps(layers),
            f"{store}/overlay/a/diff/file": "1",
            f"{store}/overlay/a/link": "../../../../../../etc",
            f"{store}/overlay/b/diff/file": "2",
            "etc/passwd": "x",
        },
    )
    owner = assigned(top).owner
    assert owner[f"{store}/overlay/b/diff/file"] == "images/good"
    assert owner["etc/passwd"] == "unclaimed/etc"
