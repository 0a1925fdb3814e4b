"""Versions, and which labels of a base image an image of its own may keep."""

import pytest

from rechunk_podman.build.labels import (
    PARENT_PREFIXES,
    PARENTS,
    bootable_labels,
    kernels,
    label_lines,
    labelling,
    version,
)
from rechunk_podman.errors import UsageError
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.config import ImageConfig

DAY = 1_700_000_000  # 2023-11-14


def entry(kind=Kind.FILE, ino=1):
    return Entry(kind, 0o644, 0, 0, 1, 0, 1, ino, 1, None, None, ())


def tree(*paths):
    return Tree(entry(Kind.DIRECTORY, 0), {path: entry(ino=ino) for ino, path in enumerate(paths, 1)})


@pytest.mark.parametrize(
    ("template", "previous", "expected"),
    [
        ("candidate.<date>", None, "candidate.231114"),
        ("candidate.<date>", "candidate.231107", "candidate.231114"),
        ("candidate.<date>", "candidate.231114", "candidate.231114.1"),
        ("candidate.<date>", "candidate.231114.1", "candidate.231114.2"),
        ("candidate.<date>", "candidate.231114.9", "candidate.231114.10"),
        ("candidate.<date>", "candidate.231114.beta", "candidate.231114"),
        ("40-<date:%Y%m%d>", "40-20231114", "40-20231114.1"),
        ("7", "7", "7.1"),
    ],
)
def test_versions(template, previous, expected):
    assert version(template, DAY, previous) == expected


@pytest.mark.parametrize("template", ["", "a b", "-x", "<day>", "x" * 200])
def test_what_is_no_version(template):
    with pytest.raises(UsageError):
        version(template, DAY, None)


def test_what_describes_the_parent_goes():
    inherited = {
        "org.opencontainers.image.version": "40.1",
        "org.opencontainers.image.source": "https://example.org/base",
        "org.opencontainers.image.licenses": "MIT",
        "ostree.commit": "abc",
        "io.buildah.version": "1.28",
        "maintainer": "somebody",
    }
    result = labelling(
        inherited, {"org.opencontainers.image.version": "7"}, keep=["org.opencontainers.image.source"]
    )
    assert result.dropped == ("io.buildah.version", "ostree.commit")
    assert result.rewritten == ("org.opencontainers.image.version",)
    config = ImageConfig(config={"Labels": inherited}).with_labels(result.operations)
    assert dict(config.labels) == {
        "org.opencontainers.image.version": "7",
        "org.opencontainers.image.source": "https://example.org/base",
        "org.opencontainers.image.licenses": "MIT",
        "maintainer": "somebody",
    }


def test_the_label_of_the_kernel_is_left_to_the_kernel():
    result = labelling({"ostree.linux": "6.8", "ostree.bootable": "true"}, {})
    assert result.dropped == ("ostree.bootable",)


def test_the_rule_is_documented(repository):
    text = (repository / "docs" / "labels.md").read_text()
    for name in PARENTS:
        family = next(
            (p for p in ("org.opencontainers.image.", "org.label-schema.") if name.startswith(p)), ""
        )
        assert f"`{name.removeprefix(family)}`" in text, name
        assert f"`{family}`" in text or not family
    for prefix in PARENT_PREFIXES:
        assert f"`{prefix}`" in text


def test_lines():
    assert label_lines("# ours\na=b=c\n\n d = e \n") == {"a": "b=c", "d": "e"}
    with pytest.raises(UsageError):
        label_lines("nothing")


def test_the_kernel_is_the_one_that_is_there():
    one = tree("usr/lib/modules/6.9/vmlinuz", "usr/lib/modules/6.8/modules.dep")
    assert kernels(one) == ["6.9"]
    labels = {"ostree.linux": "6.8", "ostree.commit": "abc", "ostree.bootable": "true"}
    plain = bootable_labels(labels, one, bootc=False)
    assert plain.operations == ("ostree.linux=6.9",)
    result = bootable_labels(labels, one, bootc=True)
    config = ImageConfig(config={"Labels": labels}).with_labels(result.operations)
    assert dict(config.labels) == {"ostree.linux": "6.9", "ostree.bootable": "true", "containers.bootc": "1"}
    assert result.dropped == ("ostree.commit",)


def test_no_kernel_or_two_have_no_label():
    two = tree("usr/lib/modules/6.9/vmlinuz", "usr/lib/modules/6.8/vmlinuz")
    assert bootable_labels({"ostree.linux": "6.8"}, two, bootc=False).dropped == ("ostree.linux",)
    assert bootable_labels({}, tree("etc"), bootc=False).operations == ()
