"""An image in storage: its config as a document."""

from __future__ import annotations

import json

import pytest

from rechunk_podman.errors import ImageError
from rechunk_podman.programs.podman import Image


def image(config: object, manifest: object) -> Image:
    return Image("ab" * 32, (), json.dumps(config).encode(), json.dumps(manifest).encode(), 0)


def test_document_carries_the_annotations() -> None:
    config = {"architecture": "amd64", "config": {"Env": ["A=é"]}, "os": "linux"}
    document = json.loads(image(config, {"annotations": {"a b": "c"}}).document())
    assert document == {**config, "annotations": {"a b": "c"}}
    assert json.loads(image(config, {}).document()) == config


def test_document_refuses_what_is_no_config() -> None:
    with pytest.raises(ImageError):
        image([], {}).document()
