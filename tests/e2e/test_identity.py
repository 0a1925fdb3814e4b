"""Versions, labels and the bootable profile, on an image in storage that looks like a bootable one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.validate.image import validate
from support import tools
from support.bootable import bootable_image

IMAGE = "localhost/bootable:1"
VERSION = "org.opencontainers.image.version"


@pytest.fixture(scope="module")
def bootable(storage: tools.Storage, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a kernel, an ostree repository, and the labels of the base it was built on."""
    return bootable_image(storage, IMAGE, tmp_path_factory.mktemp("bootable"))


def split(storage: tools.Storage, folder: Path, *options: str) -> tuple[dict[str, str], set[str], str]:
    """(labels, components, what was said) of an image that was split into a layout."""
    done = storage.rechunk("split", IMAGE, "--output", f"oci:{folder}", "--json", *options)
    validate(folder).check()
    with open_image(f"oci:{folder}") as image:
        comments = {layer.history.comment for layer in image.record.layers if layer.history}
        return dict(image.record.config.labels), comments, done.err


def test_labels_stay_but_the_kernel_is_the_real_one(
    storage: tools.Storage, bootable: str, tmp_path: Path
) -> None:
    labels, _, _ = split(storage, tmp_path / "out")
    assert labels["ostree.linux"] == "6.9.1"
    assert labels["ostree.commit"] == "0123"
    assert labels[VERSION] == "base.1"
    done = storage.rechunk("verify", bootable, f"oci:{tmp_path / 'out'}")
    assert done.code == 0


def test_an_identity_of_its_own(storage: tools.Storage, bootable: str, tmp_path: Path) -> None:
    options = (
        "--version=c.<date:%Y>",
        "--revision=abc",
        "--description=two\nlines",
        "--pretty=Test <version>",
        "--labels=org.opencontainers.image.title=<pretty>",
        "--source-date-epoch=1700000000",
        "--label=extra=1",
    )
    storage.env["SOURCE_DATE_EPOCH"] = "1700000000"  # type: ignore[index]
    try:
        labels, _, said = split(storage, tmp_path / "one", *options)
        assert labels[VERSION] == "c.2023"
        assert labels["org.opencontainers.image.revision"] == "abc"
        assert labels["org.opencontainers.image.description"] == "two\nlines"
        assert labels["org.opencontainers.image.title"] == "Test c.2023"
        assert labels["maintainer"] == "somebody"
        assert labels["extra"] == "1"
        assert not {"ostree.commit", "ostree.bootable"} & labels.keys()
        assert "ostree.commit" in said
        again, _, _ = split(storage, tmp_path / "two", *options, f"--previous=oci:{tmp_path / 'one'}")
        assert again[VERSION] == "c.2023.1"
        fresh = (*options, f"--previous=oci:{tmp_path / 'two'}", "--fresh")
        labels, _, _ = split(storage, tmp_path / "three", *fresh)
        assert labels[VERSION] == "c.2023.2"
    finally:
        del storage.env["SOURCE_DATE_EPOCH"]  # type: ignore[attr-defined]


def test_a_bootable_image_with_an_identity_of_its_own(
    storage: tools.Storage, bootable: str, tmp_path: Path
) -> None:
    """The call of the workflows drops the labels of the base, and names the kernel of the image."""
    labels, _, _ = split(storage, tmp_path / "out", "--bootc", "--version=7")
    assert labels["ostree.linux"] == "6.9.1"
    assert labels["containers.bootc"] == "1"
    assert labels[VERSION] == "7"
    assert not {"ostree.commit", "ostree.bootable", "org.opencontainers.image.title"} & labels.keys()
    labels, _, _ = split(storage, tmp_path / "plain", "--version=7")
    assert labels["ostree.linux"] == "6.9.1"
    assert "containers.bootc" not in labels


def test_the_bootable_profile(storage: tools.Storage, bootable: str, tmp_path: Path) -> None:
    labels, comments, said = split(storage, tmp_path / "out", "--bootc")
    assert labels["containers.bootc"] == "1"
    assert labels["ostree.linux"] == "6.9.1"
    assert "ostree.commit" not in labels
    assert "/sysroot" in said
    assert any(comment.startswith("kernel/initramfs [") for comment in comments), comments
    done = storage.rechunk(
        "verify", bootable, f"oci:{tmp_path / 'out'}", "--ignore-prune", "/sysroot/ostree", check=False
    )
    assert done.code == 0, done.out
