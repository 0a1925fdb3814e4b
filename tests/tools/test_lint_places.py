"""`lint OLD NEW` on images as tools leave them: in storage, in layouts with plain blobs, in a registry."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman.lint.report import lint_update
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.registry.access import Registry as Access
from support.needs import needs_root, require
from support.oci_material import LAYER, Layout, make_tar, member
from support.tools import Registry, loopback_registry, private_storage, run

COPY = ("skopeo", "--insecure-policy", "copy", "-q")


def image(path: Path, *, changed: bytes) -> Path:
    layout = Layout(path)
    for name, data in (("base", b"b" * 5000), ("app", changed), ("top", b"t" * 3000)):
        tar = make_tar([member(name, data=data)])
        layout.layer(tar, gzip.compress(tar, mtime=0), LAYER + "+gzip")
    return layout.finish()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return image(tmp_path / "old", changed=b"one"), image(tmp_path / "new", changed=b"two")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    require("docker-registry", "skopeo")
    with loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def verdicts(old: str, new: str) -> list[str]:
    found = lint_update(old, new, registry=Access(tls_verify=False)).changes
    return [layer.verdict for layer in found]


def test_of_a_registry_only_layers_that_differ_are_fetched(pair, registry):
    names = [f"docker://{registry.address}/lint:{number}" for number in range(2)]
    for path, name in zip(pair, names, strict=True):
        run(*COPY, "--dest-tls-verify=false", f"oci:{path}", name)
    before = len(registry.log.read_bytes())
    assert verdicts(*names) == ["kept", "content", "kept"]
    log = registry.log.read_bytes()[before:].decode()
    got = set(re.findall(r'"GET /v2/lint/blobs/(sha256:[0-9a-f]+)', log))
    assert len(got) == 4  # two configs, two layers
    assert verdicts(f"oci:{pair[0]}", names[1]) == ["kept", "content", "kept"]


def test_a_blob_of_the_registry_that_is_compressed_anew(tmp_path, pair, registry):
    name = f"docker://{registry.address}/lint:again"
    run(*COPY, "--dest-tls-verify=false", f"oci:{pair[0]}", name)
    layout = Layout(tmp_path / "best")
    for path, data in (("base", b"b" * 5000), ("app", b"one"), ("top", b"t" * 3000)):
        tar = make_tar([member(path, data=data)])
        layout.layer(tar, gzip.compress(tar, 1, mtime=0), LAYER + "+gzip")
    assert verdicts(name, f"oci:{layout.finish()}") == ["recompressed"] * 3


@needs_root
def test_plain_blobs_under_compressed_media_types(tmp_path, pair):
    """Storage exports an image that it pulled compressed in this form."""
    require("podman", "skopeo")
    with (
        tempfile.TemporaryDirectory(prefix="lint-", dir="/tmp") as folder,
        private_storage(Path(folder) / "s") as storage,
    ):
        targets = []
        for number, path in enumerate(pair):
            name = f"containers-storage:localhost/lint:{number}"
            storage.run(*COPY, f"oci:{path}", name)
            target = f"oci:{tmp_path}/plain{number}"
            storage.run(*COPY, "--dest-oci-accept-uncompressed-layers", name, target)
            targets.append(target)
    assert verdicts(*targets) == ["kept", "content", "kept"]
    assert verdicts(targets[0], f"oci:{pair[1]}") == ["kept", "content", "kept"]
    problems = validate(targets[0], strict=False).errors
    assert {problem.code for problem in problems} == {"compression"}
