"""The space that is needed and the space that is free; an error if it certainly does not suffice."""

from __future__ import annotations

import logging

import pytest

from rechunk_podman.errors import ToolError
from rechunk_podman.programs import space


def test_what_is_needed_is_said_with_the_place(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        space.require("a layout", str(tmp_path / "not" / "there"), at_most=2_500_000)
    assert "a layout: at most 2.5 MB needed" in caplog.text
    assert f"free at {tmp_path}" in caplog.text


def test_certainly_too_little_is_an_error(tmp_path):
    there = space.free(str(tmp_path))
    space.require("it", str(tmp_path), at_most=4 * there, at_least=there // 2)
    with pytest.raises(ToolError) as caught:
        space.require("it", str(tmp_path), at_most=4 * there, at_least=4 * there)
    assert "not enough space" in caught.value.message
    assert "--workdir" in str(caught.value.hint)


@pytest.mark.parametrize(("compressed", "least"), [(False, 1000), (True, 50)])
def test_the_least_that_layers_need(compressed, least):
    assert space.least(1000, compressed=compressed) == least
