"""Identity: what the identity of an image comes to, as label operations."""

import json

import pytest

from rechunk_podman.build.identity import Identity
from rechunk_podman.errors import UsageError
from rechunk_podman.log import NOTE
from rechunk_podman.oci.config import ImageConfig

DAY = 1_700_000_000  # 2023-11-14
SOURCE = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Labels": {
                "org.opencontainers.image.version": "base",
                "org.opencontainers.image.title": "Base",
                "maintainer": "x",
            }
        },
    }
)


def labels(identity, previous=None):
    operations = identity.operations(SOURCE, previous, DAY)
    return dict(ImageConfig.parse(SOURCE).with_labels(operations).labels)


def test_nothing_said_nothing_changed():
    assert Identity().operations(SOURCE, None, DAY) == ()


def test_what_happens_to_labels_is_said(caplog):
    caplog.set_level(NOTE, logger="rechunk_podman")
    Identity(version="7").operations(SOURCE, None, DAY)
    assert caplog.messages == [
        "version: 7",
        "labels dropped, since they describe the base image: org.opencontainers.image.title "
        "(--keep-label KEY)",
        "labels rewritten: org.opencontainers.image.version",
    ]


def test_a_version_after_the_same_version():
    found = labels(Identity(version="c.<date>"), {"org.opencontainers.image.version": "c.231114.1"})
    assert found == {"org.opencontainers.image.version": "c.231114.2", "maintainer": "x"}


def test_lines_with_names_in_them():
    identity = Identity(
        version="<date>",
        revision="abc",
        description="two\nlines",
        pretty="Test <version>",
        lines="org.opencontainers.image.title=<pretty>\nplain=<nothing>\n",
        keep=("org.opencontainers.image.version",),
    )
    assert labels(identity) == {
        "org.opencontainers.image.version": "231114",
        "org.opencontainers.image.revision": "abc",
        "org.opencontainers.image.description": "two\nlines",
        "org.opencontainers.image.title": "Test 231114",
        "plain": "<nothing>",
        "maintainer": "x",
    }


def test_a_name_that_was_not_given():
    with pytest.raises(UsageError, match="revision"):
        labels(Identity(lines="a=<revision>"))
